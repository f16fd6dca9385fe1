//! The ONNX runtime, whose shared library is loaded at the start. `ort` is named only here.
//!
//! The model takes `input_features`, 1 x 80 x 800 numbers, and gives one probability: Smart Turn v3 does.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::{LoadError, TurnModel, wrong};
use crate::audio::mel::{BANDS, FRAMES, LogMel};

const INPUT: &str = "input_features";

/// The process has one runtime: the library that was loaded first.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

fn environment(library: &Path) -> Result<Environment, LoadError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    let missing = |error: String| {
        wrong(
            "library",
            format!(
                "{error}; hint: `pip install onnxruntime` brings it as onnxruntime/capi/libonnxruntime.so.1.*"
            ),
        )
    };
    let builder = ort::init_from(library).map_err(|error| missing(error.to_string()))?;
    let made = builder.with_name("trunkline").with_telemetry(false).build();
    let made = made.map_err(|error| missing(error.to_string()))?;
    Ok(slot.insert(made).clone())
}

/// One copy of the model.
pub(super) struct Model {
    session: Session,
    mel: LogMel,
    features: Vec<f32>,
}

impl Model {
    /// Reads the model and tries it on silence.
    pub(super) fn load(path: &Path, library: &Path) -> Result<Self, LoadError> {
        let environment = environment(library)?;
        let refused =
            |error: String| wrong("path", format!("cannot run `{}`: {error}", path.display()));
        let session = session(&environment, path).map_err(refused)?;
        let [input] = session.inputs() else {
            return Err(refused(format!("it has {} inputs, not one", session.inputs().len())));
        };
        if input.name() != INPUT || !fits(input.dtype()) {
            return Err(refused(format!(
                "its input is `{}` {}; allowed: `{INPUT}`, {BANDS} x {FRAMES} 32-bit numbers",
                input.name(),
                input.dtype()
            )));
        }
        let mut model = Self { session, mel: LogMel::new(), features: Vec::new() };
        model.judge(&[]).map_err(refused)?;
        Ok(model)
    }
}

/// One thread: the caller's own.
fn session(environment: &Environment, path: &Path) -> Result<Session, String> {
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(1).map_err(|error| error.to_string())?;
    let mut builder = builder.with_inter_threads(1).map_err(|error| error.to_string())?;
    builder.commit_from_file(path).map_err(|error| error.to_string())
}

/// Whether the features go in; a dimension that the model leaves open is below 0.
fn fits(input: &ValueType) -> bool {
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = input else {
        return false;
    };
    let wanted = [1, BANDS as i64, FRAMES as i64];
    shape.len() == wanted.len()
        && shape.iter().zip(wanted).all(|(given, wanted)| *given < 0 || *given == wanted)
}

impl TurnModel for Model {
    fn judge(&mut self, audio: &[i16]) -> Result<f32, String> {
        self.mel.compute(audio, &mut self.features);
        let features = TensorRef::from_array_view(([1, BANDS, FRAMES], self.features.as_slice()))
            .map_err(|error| error.to_string())?;
        let outputs =
            self.session.run(ort::inputs![INPUT => features]).map_err(|error| error.to_string())?;
        let Some((_, output)) = outputs.iter().next() else { return Err("no output".to_owned()) };
        let (_, values) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
        match values {
            [probability] if (0.0..=1.0).contains(probability) => Ok(*probability),
            values => Err(format!("its output is {} numbers, not one of 0 to 1", values.len())),
        }
    }
}
