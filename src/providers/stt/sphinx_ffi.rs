//! The C library pocketsphinx (ABI 0.8+5prealpha, soname `libpocketsphinx.so.3`), loaded at run time.
//!
//! The only file of the project that holds `unsafe` for recognition: the library is optional, so it
//! cannot be linked, and it has no safe wrapper that builds. Everything outside sees two safe types,
//! [`Library`] and [`Decoder`]. The 5.x line of pocketsphinx has another soname and is refused by it.
//! The library calls `exit` on a corrupt model file; [`super::sphinx`] checks that the files exist,
//! and hands over grammars that it built itself.

#![expect(unsafe_code, reason = "foreign functions of a library that is loaded at run time")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

/// The only ABI this file knows.
pub(crate) const SONAME: &str = "libpocketsphinx.so.3";

/// `cmd_ln_t`, `arg_t` and `ps_decoder_t`: opaque.
type Opaque = c_void;

/// Symbols with the signatures of `pocketsphinx.h`, `cmd_ln.h` and `err.h` of 0.8+5prealpha.
struct Symbols {
    ps_args: unsafe extern "C" fn() -> *const Opaque,
    cmd_ln_parse_r:
        unsafe extern "C" fn(*mut Opaque, *const Opaque, i32, *mut *mut c_char, i32) -> *mut Opaque,
    cmd_ln_free_r: unsafe extern "C" fn(*mut Opaque) -> c_int,
    ps_init: unsafe extern "C" fn(*mut Opaque) -> *mut Opaque,
    ps_free: unsafe extern "C" fn(*mut Opaque) -> c_int,
    ps_add_word: unsafe extern "C" fn(*mut Opaque, *const c_char, *const c_char, c_int) -> c_int,
    ps_set_jsgf_string: unsafe extern "C" fn(*mut Opaque, *const c_char, *const c_char) -> c_int,
    ps_set_search: unsafe extern "C" fn(*mut Opaque, *const c_char) -> c_int,
    ps_start_utt: unsafe extern "C" fn(*mut Opaque) -> c_int,
    ps_process_raw: unsafe extern "C" fn(*mut Opaque, *const i16, usize, c_int, c_int) -> c_int,
    ps_end_utt: unsafe extern "C" fn(*mut Opaque) -> c_int,
    ps_get_hyp: unsafe extern "C" fn(*mut Opaque, *mut i32) -> *const c_char,
    ps_get_n_frames: unsafe extern "C" fn(*mut Opaque) -> c_int,
}

/// The loaded library. It stays loaded as long as a [`Decoder`] of it lives.
pub(crate) struct Library {
    symbols: Symbols,
    /// Keeps the code mapped; dropped last, after the pointers above can no longer be called.
    _handle: libloading::Library,
}

/// Copies one symbol out of the library.
fn symbol<T: Copy>(handle: &libloading::Library, name: &str) -> Result<T, String> {
    // SAFETY: `T` is the signature that the 0.8+5prealpha headers give for `name`; the soname
    // pins that ABI. The copy is only called while `handle` is alive, in the same struct.
    unsafe { handle.get::<T>(name.as_bytes()) }
        .map(|found| *found)
        .map_err(|_| format!("{SONAME} has no symbol {name}"))
}

impl Library {
    /// Loads the library by its soname and silences its log.
    ///
    /// # Errors
    /// A fragment that says what is missing: the library, or a symbol of it.
    pub(crate) fn load() -> Result<Arc<Self>, String> {
        Self::load_from(SONAME)
    }

    /// Loads the library from a given name or path.
    pub(crate) fn load_from(name: &str) -> Result<Arc<Self>, String> {
        // SAFETY: the constructors of libpocketsphinx and libsphinxbase only set up C data; nothing
        // in this process depends on what they touch.
        let handle = unsafe { libloading::Library::new(name) }
            .map_err(|_| format!("{name} is not installed"))?;
        let symbols = Symbols {
            ps_args: symbol(&handle, "ps_args")?,
            cmd_ln_parse_r: symbol(&handle, "cmd_ln_parse_r")?,
            cmd_ln_free_r: symbol(&handle, "cmd_ln_free_r")?,
            ps_init: symbol(&handle, "ps_init")?,
            ps_free: symbol(&handle, "ps_free")?,
            ps_add_word: symbol(&handle, "ps_add_word")?,
            ps_set_jsgf_string: symbol(&handle, "ps_set_jsgf_string")?,
            ps_set_search: symbol(&handle, "ps_set_search")?,
            ps_start_utt: symbol(&handle, "ps_start_utt")?,
            ps_process_raw: symbol(&handle, "ps_process_raw")?,
            ps_end_utt: symbol(&handle, "ps_end_utt")?,
            ps_get_hyp: symbol(&handle, "ps_get_hyp")?,
            ps_get_n_frames: symbol(&handle, "ps_get_n_frames")?,
        };
        let silence: unsafe extern "C" fn(*mut c_void) = symbol(&handle, "err_set_logfp")?;
        // SAFETY: `err_set_logfp(NULL)` is the documented way to turn the log off.
        unsafe { silence(ptr::null_mut()) };
        Ok(Arc::new(Self { symbols, _handle: handle }))
    }
}

/// What a decoder heard in one utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hypothesis {
    /// Words, with single blanks between.
    pub(crate) text: String,
    /// Score of the path: a logarithm to the base 1.0001^1024, larger is better.
    pub(crate) score: i32,
    /// Frames of 10 ms that the search saw.
    pub(crate) frames: u32,
}

/// One decoder. It is used by one thread at a time: the raw pointer makes it neither `Send` nor `Sync`.
pub(crate) struct Decoder {
    library: Arc<Library>,
    config: *mut Opaque,
    decoder: *mut Opaque,
}

fn c_string(text: &str, what: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{what} holds a NUL"))
}

impl Decoder {
    /// Makes a decoder with the acoustic model of a directory and no dictionary of its own.
    /// `options` are pairs such as `("-cmn", "batch")`.
    ///
    /// # Errors
    /// A fragment that says which step the library refused.
    pub(crate) fn new(
        library: Arc<Library>,
        acoustic_model: &Path,
        options: &[(&str, &str)],
    ) -> Result<Self, String> {
        let model = acoustic_model.to_str().ok_or("the model path is not UTF-8")?;
        let mut words = vec![c_string("trunkline", "name")?];
        for (key, value) in [("-hmm", model)].iter().chain(options) {
            words.push(c_string(key, "option")?);
            words.push(c_string(value, "option")?);
        }
        let mut argv: Vec<*mut c_char> =
            words.iter().map(|word| word.as_ptr().cast_mut()).collect();
        let count = i32::try_from(argv.len()).map_err(|_| "too many options")?;
        let symbols = &library.symbols;
        // SAFETY: `argv` holds `count` valid C strings that outlive the call; the library copies
        // them. `ps_args` returns its static table.
        let config = unsafe {
            (symbols.cmd_ln_parse_r)(
                ptr::null_mut(),
                (symbols.ps_args)(),
                count,
                argv.as_mut_ptr(),
                1,
            )
        };
        if config.is_null() {
            return Err("pocketsphinx refused its options".to_owned());
        }
        // SAFETY: `config` came from `cmd_ln_parse_r` and is not null; `ps_init` keeps a reference
        // of its own.
        let decoder = unsafe { (symbols.ps_init)(config) };
        if decoder.is_null() {
            // SAFETY: `config` is ours and is not used again.
            unsafe { (symbols.cmd_ln_free_r)(config) };
            return Err(format!("pocketsphinx could not load the model in {model}"));
        }
        Ok(Self { library, config, decoder })
    }

    /// Adds a word with its pronunciation, phones separated by blanks.
    ///
    /// # Errors
    /// If the library knows one of the phones not, or the word already.
    pub(crate) fn add_word(&mut self, word: &str, phones: &str) -> Result<(), String> {
        let c_word = c_string(word, "word")?;
        let c_phones = c_string(phones, "pronunciation")?;
        // SAFETY: the decoder is live, the strings are valid for the call and are copied.
        let id = unsafe {
            (self.library.symbols.ps_add_word)(self.decoder, c_word.as_ptr(), c_phones.as_ptr(), 0)
        };
        if id < 0 {
            return Err(format!("pocketsphinx refused the word {word} ({phones})"));
        }
        Ok(())
    }

    /// Compiles a JSGF grammar and keeps it under a name.
    ///
    /// # Errors
    /// If the grammar does not compile, for example because a word was not added.
    pub(crate) fn add_grammar(&mut self, name: &CStr, jsgf: &str) -> Result<(), String> {
        let c_jsgf = c_string(jsgf, "grammar")?;
        let symbols = &self.library.symbols;
        // SAFETY: the decoder is live; both strings are valid for the call and are copied.
        let status =
            unsafe { (symbols.ps_set_jsgf_string)(self.decoder, name.as_ptr(), c_jsgf.as_ptr()) };
        if status < 0 { Err("pocketsphinx refused the grammar".to_owned()) } else { Ok(()) }
    }

    /// Recognises one whole utterance of 16 kHz audio with one of its grammars. `None`: no path through the grammar fits.
    ///
    /// # Errors
    /// If the library reports a failure; the decoder can be used again.
    pub(crate) fn recognise(
        &mut self,
        grammar: &CStr,
        samples: &[i16],
    ) -> Result<Option<Hypothesis>, String> {
        let symbols = &self.library.symbols;
        // SAFETY: the decoder is live, between utterances, and refuses an unknown search; `samples` is valid for its length during
        // the call. The hypothesis points into the decoder and is copied before the next call.
        unsafe {
            if (symbols.ps_set_search)(self.decoder, grammar.as_ptr()) < 0 {
                return Err("the decoder has no such grammar".to_owned());
            }
            if (symbols.ps_start_utt)(self.decoder) < 0 {
                return Err("pocketsphinx could not start an utterance".to_owned());
            }
            let read =
                (symbols.ps_process_raw)(self.decoder, samples.as_ptr(), samples.len(), 0, 1);
            let ended = (symbols.ps_end_utt)(self.decoder);
            if read < 0 || ended < 0 {
                return Err("pocketsphinx failed in the middle of an utterance".to_owned());
            }
            let frames = (symbols.ps_get_n_frames)(self.decoder);
            let mut score = 0;
            let text = (symbols.ps_get_hyp)(self.decoder, &raw mut score);
            if text.is_null() {
                return Ok(None);
            }
            let text = CStr::from_ptr(text).to_string_lossy().into_owned();
            Ok(Some(Hypothesis { text, score, frames: u32::try_from(frames).unwrap_or(0) }))
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: both pointers are ours, not null, and are not used again.
        unsafe {
            (self.library.symbols.ps_free)(self.decoder);
            (self.library.symbols.cmd_ln_free_r)(self.config);
        }
    }
}
