//! baresip as a telephone: it plays a tone and writes down what it hears.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use trunkline::audio::wav::{Channels, WavWriter};
use trunkline::sip::Transport;
use trunkline::types::SampleRate;

use super::authority::Authority;
use super::{free_port, wait};

const MODULES: &[&str] = &[
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
];

/// What a baresip speaks.
#[derive(Clone, Copy)]
pub(crate) struct Media {
    /// `audio_codecs` of its account.
    pub(crate) codec: &'static str,
    /// Of its sound card, which is two files.
    pub(crate) rate: u32,
    /// Empty, or `;mediaenc=...`.
    pub(crate) encryption: &'static str,
}

impl Default for Media {
    fn default() -> Self {
        Self { codec: "PCMU/8000/1,PCMA/8000/1", rate: 8_000, encryption: "" }
    }
}

/// A running baresip.
pub(crate) struct Baresip {
    // Killed when the telephone is dropped.
    _child: Child,
    dir: TempDir,
    control: TcpStream,
    pub(crate) sip: SocketAddr,
}

impl Baresip {
    /// Starts one that answers every call, plays `tone_hz` and records what it hears.
    pub(crate) async fn start(tone_hz: u32, transport: Transport) -> Self {
        Self::start_with(tone_hz, transport, Media::default()).await
    }

    /// The same with other codecs or encryption.
    pub(crate) async fn start_with(tone_hz: u32, transport: Transport, media: Media) -> Self {
        Self::launch(tone_hz, transport, media, String::new()).await
    }

    /// The same over TLS, with certificates of an authority.
    pub(crate) async fn start_secure(tone_hz: u32, authority: &Authority) -> Self {
        let certificate = authority.sign("baresip", "127.0.0.1").both;
        let secure = format!(
            "sip_certificate {}\nsip_cafile {}\n",
            certificate.display(),
            authority.ca().display()
        );
        Self::launch(tone_hz, Transport::Tls, Media::default(), secure).await
    }

    async fn launch(tone_hz: u32, transport: Transport, media: Media, secure: String) -> Self {
        let Media { codec, rate, encryption } = media;
        let dir = tempfile::tempdir().expect("a directory");
        let sip = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        // The source ends with its file: longer than any call here.
        write_tone(&dir.path().join("tone.wav"), tone_hz, rate);
        let modules = MODULES.iter().find(|path| PathBuf::from(path).is_dir()).expect("modules");
        let rtp = free_port();
        let config = format!(
            "{secure}poll_method epoll\nsip_listen {sip}\naudio_source aufile,{here}/tone.wav\n\
             snd_path {here}\ncall_max_calls 4\n\
             ausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels 1\nauplay_channels 1\n\
             opus_stereo no\nopus_sprop_stereo no\nopus_inbandfec yes\n\
             rtp_ports {rtp}-{last}\n\
             module_path {modules}\nmodule g711.so\nmodule g722.so\nmodule opus.so\n\
             module srtp.so\nmodule aufile.so\nmodule sndfile.so\n\
             module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen {control}\nringback_disabled yes\nring_aufile none\n",
            here = dir.path().display(),
            last = rtp + 10,
        );
        let kind = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let account = format!(
            "<sip:phone@127.0.0.1:{};transport={kind}>;regint=0;answermode=auto;\
             audio_codecs={codec}{encryption}\n",
            sip.port()
        );
        std::fs::write(dir.path().join("config"), config).expect("a file");
        std::fs::write(dir.path().join("accounts"), account).expect("a file");
        std::fs::write(dir.path().join("contacts"), "").expect("a file");
        let mut command = Command::new("baresip");
        command.kill_on_drop(true).arg("-4").arg("-f").arg(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("baresip starts");
        let control =
            wait::until("baresip's control port", async || TcpStream::connect(control).await.ok())
                .await;
        Self { _child: child, dir, control, sip }
    }

    /// Gives a command, for example `dial`.
    pub(crate) async fn command(&mut self, command: &str, params: &str) {
        let json = serde_json::json!({ "command": command, "params": params }).to_string();
        let text = format!("{}:{json},", json.len());
        self.control.write_all(text.as_bytes()).await.expect("an open control port");
        // Answers and events are read, so that baresip never waits for us.
        let mut octets = [0; 4_096];
        wait::limit("baresip's answer", self.control.read(&mut octets)).await.expect("an answer");
    }

    /// Waits until it closed its recording of one call: samples of one channel, and how many a second.
    pub(crate) async fn heard(&self) -> (Vec<i16>, usize) {
        wait::until("baresip's recording", async || {
            // `sndfile` writes one file for what it sends and one for what it receives.
            let entries = std::fs::read_dir(self.dir.path()).expect("a directory");
            let mut paths = entries.flatten().map(|entry| entry.path());
            let path = paths.find(|path| path.to_string_lossy().ends_with("dec.wav"))?;
            let audio = trunkline::audio::wav::read_file(&path).ok()?;
            let rate = audio.rate.hz() as usize;
            (!audio.channels[0].is_empty()).then(|| (audio.channels[0].clone(), rate))
        })
        .await
    }
}

fn write_tone(path: &Path, hz: u32, rate: u32) {
    let line = SampleRate::new(rate).expect("a rate");
    let mut wav = WavWriter::create(path, line, Channels::Mono).expect("a file");
    let step = std::f64::consts::TAU * f64::from(hz) / f64::from(rate);
    let sample = |n: u32| (8_000.0 * (step * f64::from(n)).sin()) as i16;
    let samples: Vec<i16> = (0..30 * rate).map(sample).collect();
    wav.write_mono(&samples).expect("a file");
    wav.finish().expect("a file");
}
