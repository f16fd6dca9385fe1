//! baresip as a telephone: it plays a tone and writes down what it hears.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use trunkline::sip::Transport;

use super::authority::Authority;
use super::phone::{Phone, Said, write_tone};
use super::{free_port, sound, wait};

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

/// Starts that are tried.
const LAUNCHES: usize = 3;
/// It is there within half a second on a quiet machine.
const LAUNCH_MAX: Duration = Duration::from_secs(8);

/// A running baresip.
pub(crate) struct Baresip {
    // Killed when the telephone is dropped.
    _child: Child,
    dir: TempDir,
    control: OwnedWriteHalf,
    said: Said,
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
    pub(crate) async fn start_secure(tone_hz: u32, authority: &Authority, media: Media) -> Self {
        let certificate = authority.sign("baresip", "127.0.0.1").both;
        let secure = format!(
            "sip_certificate {}\nsip_cafile {}\n",
            certificate.display(),
            authority.ca().display()
        );
        Self::launch(tone_hz, Transport::Tls, media, secure).await
    }

    async fn launch(tone_hz: u32, transport: Transport, media: Media, secure: String) -> Self {
        let mut log = String::new();
        // A port may be taken between our look and its own.
        for _ in 0..LAUNCHES {
            match Self::try_launch(tone_hz, transport, media, &secure).await {
                Ok(running) => return running,
                Err(said) => log = said,
            }
        }
        panic!("baresip does not start: {log}");
    }

    /// What it printed, if it ends or is not there in time.
    async fn try_launch(
        tone_hz: u32,
        transport: Transport,
        media: Media,
        secure: &str,
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let sip = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        write_files(dir.path(), tone_hz, transport, media, secure, [sip, control]);
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let mut command = Command::new("baresip");
        command.kill_on_drop(true).arg("-4").arg("-f").arg(dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut child = command.spawn().expect("baresip starts");
        let connected =
            wait::until("baresip's control port", async || TcpStream::connect(control).await.ok());
        let stream = tokio::select! {
            _ = child.wait() => None,
            stream = tokio::time::timeout(LAUNCH_MAX, connected) => stream.ok(),
        };
        let Some(stream) = stream else {
            return Err(std::fs::read_to_string(dir.path().join("log")).unwrap_or_default());
        };
        let (reader, control) = stream.into_split();
        let said = Said::default();
        tokio::spawn(listen(reader, said.clone()));
        Ok(Self { _child: child, dir, control, said, sip })
    }

    /// Where it listens.
    pub(crate) fn address(&self, transport: Transport) -> SocketAddr {
        // For TLS it takes the port after that for the others.
        let step = u16::from(transport == Transport::Tls);
        SocketAddr::new(self.sip.ip(), self.sip.port() + step)
    }

    /// Gives a command, for example `dial`.
    async fn command(&mut self, command: &str, params: &str) {
        let mark = self.said.mark();
        let json = serde_json::json!({ "command": command, "params": params }).to_string();
        let text = format!("{}:{json},", json.len());
        self.control.write_all(text.as_bytes()).await.expect("an open control port");
        self.said.after(mark, &["\"response\":true"]).await;
    }

    /// Sends us elsewhere: a REFER of its own.
    pub(crate) async fn transfer(&mut self, uri: &str) {
        self.command("transfer", uri).await;
    }

    /// What its calls heard, each once it is over: samples of one channel, and how many a second.
    pub(crate) async fn recordings(&self, calls: usize) -> Vec<(Vec<i16>, usize)> {
        wait::until("baresip's recordings", async || {
            let audio = self.files().into_iter().filter_map(|path| {
                let audio = trunkline::audio::wav::read_file(&path).ok()?;
                let rate = audio.rate.hz() as usize;
                audio.channels.into_iter().next().map(|one| (one, rate))
            });
            let closed: Vec<_> = audio.filter(|(samples, _)| !samples.is_empty()).collect();
            (closed.len() == calls).then_some(closed)
        })
        .await
    }

    /// Waits until it has written down so much of a call that goes on.
    pub(crate) async fn hears(&self, call: usize, ms: usize) {
        wait::until("sound in baresip's recording", async || {
            let length = std::fs::metadata(self.files().get(call)?).ok()?.len() as usize;
            (length >= ms * 2 * sound::RATE / 1_000).then_some(())
        })
        .await;
    }

    /// Recordings of what it hears, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        // `sndfile` writes one file for what it sends and one for what it receives.
        let entries = std::fs::read_dir(self.dir.path()).expect("a directory");
        let paths = entries.flatten().map(|entry| entry.path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.to_string_lossy().ends_with("dec.wav")).collect();
        paths.sort();
        paths
    }
}

impl Phone for Baresip {
    const HELD: &[&str] = &["\"type\":\"CALL_REMOTE_SDP\"", "\"param\":\"offer\""];
    const TAKEN_BACK: &[&str] = Self::HELD;

    fn said(&self) -> &Said {
        &self.said
    }

    async fn dial(&mut self, uri: &str) {
        self.command("dial", uri).await;
    }

    async fn press(&mut self, digit: char) {
        self.command("sndcode", &digit.to_string()).await;
    }

    async fn hold(&mut self) {
        self.command("hold", "").await;
    }

    async fn resume(&mut self) {
        self.command("resume", "").await;
    }

    async fn hang_up(&mut self) {
        self.command("hangup", "").await;
    }

    async fn gets_key(&mut self, digit: char) {
        let param = format!("\"param\":\"{digit}\"");
        self.said.after(0, &["\"type\":\"CALL_DTMF_START\"", &param]).await;
    }

    async fn heard(&mut self) -> (Vec<i16>, usize) {
        self.recordings(1).await.remove(0)
    }
}

/// Netstrings of JSON: answers and events, read as they come, so that baresip never waits for us.
async fn listen(mut reader: OwnedReadHalf, said: Said) {
    let mut buffer = Vec::new();
    while reader.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
        while let Some(colon) = buffer.iter().position(|octet| *octet == b':') {
            let head = String::from_utf8_lossy(&buffer[..colon]).into_owned();
            let length: usize = head.parse().expect("a length");
            let (begin, end) = (colon + 1, colon + 1 + length);
            if buffer.len() <= end {
                break;
            }
            said.add(String::from_utf8_lossy(&buffer[begin..end]).into_owned());
            buffer.drain(..=end);
        }
    }
}

/// Its configuration, and the tone it plays. `at`: its SIP and its control address.
fn write_files(
    dir: &Path,
    tone_hz: u32,
    transport: Transport,
    media: Media,
    secure: &str,
    at: [SocketAddr; 2],
) {
    let ([sip, control], Media { codec, rate, encryption }) = (at, media);
    // The source ends with its file.
    write_tone(&dir.join("tone.wav"), tone_hz, rate);
    let modules = MODULES.iter().find(|path| PathBuf::from(path).is_dir()).expect("modules");
    let rtp = free_port();
    // Keys by DTLS are those of one port here, and baresip waits for those of both.
    let of_one_port = ["dtls", "ice"].iter().any(|kind| encryption.contains(kind));
    let mux = if of_one_port { "rtcp_mux yes\n" } else { "" };
    let config = format!(
        "{secure}{mux}poll_method epoll\nsip_listen {sip}\naudio_source aufile,{here}/tone.wav\n\
         snd_path {here}\ncall_max_calls 4\n\
         ausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels 1\nauplay_channels 1\n\
         opus_stereo no\nopus_sprop_stereo no\nopus_inbandfec yes\n\
         rtp_ports {rtp}-{last}\n\
         module_path {modules}\nmodule g711.so\nmodule g722.so\nmodule opus.so\n\
         module l16.so\nmodule srtp.so\nmodule dtls_srtp.so\nmodule ice.so\nmodule aufile.so\nmodule sndfile.so\n\
         module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
         ctrl_tcp_listen {control}\nringback_disabled yes\nring_aufile none\n",
        here = dir.display(),
        // The port ten above is the next that somebody else is given.
        last = rtp + 8,
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
    std::fs::write(dir.join("config"), config).expect("a file");
    std::fs::write(dir.join("accounts"), account).expect("a file");
    std::fs::write(dir.join("contacts"), "").expect("a file");
}
