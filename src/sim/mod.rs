//! Gate for tests and benches: the peers of a call, simulated on real sockets, and what they need of the machine.

pub mod dns;
pub mod providers;

use std::path::PathBuf;

/// The runtime that `ORT_DYLIB_PATH` names, or that pip installed. Tests that need it say so and pass without it.
pub fn onnx_runtime() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let script = "import glob, importlib.util as u, os; s = u.find_spec('onnxruntime'); \
        print(sorted(glob.glob(os.path.dirname(s.origin) + '/capi/libonnxruntime.so.*'))[0])";
    let found = std::process::Command::new("python3").args(["-c", script]).output();
    let path = found.ok().filter(|found| found.status.success())?.stdout;
    let path = PathBuf::from(String::from_utf8(path).ok()?.trim());
    path.is_file().then_some(path)
}
