//! Every adapter of a stage against the same cases, by a server scripted from the documented wire format.

mod llm;
mod llm_wire;
mod script;
mod table;
mod tts;
mod tts_http;
mod tts_socket;
mod tts_wire;
