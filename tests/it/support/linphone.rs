//! linphonec as a telephone: it plays a tone and writes down what it hears, without a sound card.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use trunkline::sip::Transport;

use super::authority::Authority;
use super::phone::{Phone, Said, write_tone};
use super::{free_port, sound, wait};

/// A running linphonec. It answers every call.
pub(crate) struct Linphone {
    child: Child,
    dir: TempDir,
    input: ChildStdin,
    said: Said,
    pub(crate) sip: SocketAddr,
}

/// Samples of a WAV file begin here.
const HEAD: usize = 44;

impl Linphone {
    /// Starts one that plays `tone_hz` and offers every codec it has.
    pub(crate) async fn start(tone_hz: u32, transport: Transport) -> Self {
        Self::launch(tone_hz, transport, "").await
    }

    /// The same with G.711 alone, so that all of its calls have one rate; its calls leave by a proxy if there is one.
    pub(crate) async fn start_narrow(tone_hz: u32, proxy: Option<SocketAddr>) -> Self {
        let account = proxy.map_or_else(String::new, |proxy| {
            format!(
                "default_proxy=0\n[proxy_0]\nreg_proxy=<sip:{proxy}>\nreg_route=<sip:{proxy};lr>\n\
                 reg_identity=sip:phone@127.0.0.1\nreg_sendregister=0\n"
            )
        });
        let others = ["opus\nrate=48000\nchannels=2", "speex\nrate=16000", "speex\nrate=8000"];
        let off = |(index, one)| format!("[audio_codec_{index}]\nmime={one}\nenabled=0\n");
        let codecs: String = others.iter().enumerate().map(off).collect();
        Self::launch(tone_hz, Transport::Udp, &format!("{account}{codecs}")).await
    }

    /// The same over TLS with SRTP and nothing less; it trusts what an authority signs.
    pub(crate) async fn start_secure(tone_hz: u32, authority: &Authority) -> Self {
        let secure = format!(
            "media_encryption=srtp\nmedia_encryption_mandatory=1\nverify_server_certs=1\n\
             root_ca={}\n",
            authority.ca().display()
        );
        Self::launch(tone_hz, Transport::Tls, &secure).await
    }

    async fn launch(tone_hz: u32, transport: Transport, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let sip = SocketAddr::from(([127, 0, 0, 1], free_port()));
        // 0 is no socket, -1 is any port: it takes no TLS, and calls out from where it likes.
        let port = |of: Transport| match (of == transport, of) {
            (true, Transport::Tls) => "-1".to_owned(),
            (true, _) => sip.port().to_string(),
            (false, _) => "0".to_owned(),
        };
        let config = format!(
            "[rtp]\naudio_rtp_port={}\nbind_address=127.0.0.1\n[net]\nmtu=1300\n\
             [sip]\nsip_port={}\nsip_tcp_port={}\nsip_tls_port={}\n\
             use_ipv6=0\nipv6_migration_done=1\n{more}",
            free_port(),
            port(Transport::Udp),
            port(Transport::Tcp),
            port(Transport::Tls),
        );
        std::fs::write(dir.path().join("config"), config).expect("a file");
        std::fs::create_dir_all(dir.path().join(".local/share/linphone")).expect("a directory");
        write_tone(&dir.path().join("tone.wav"), tone_hz, 8_000);
        let mut command = Command::new("linphonec");
        command.kill_on_drop(true).arg("-a").arg("-c").arg(dir.path().join("config"));
        command.env("HOME", dir.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("linphonec starts");
        let input = child.stdin.take().expect("piped");
        let said = Said::of(child.stdout.take().expect("piped"));
        let mut phone = Self { child, dir, input, said, sip };
        phone.asks("soundcard use files", &["Using wav files"]).await;
        let here = phone.dir.path().display().to_string();
        phone.types(&format!("play {here}/tone.wav")).await;
        phone.types(&format!("record {here}/heard.wav")).await;
        phone
    }

    /// Types a line.
    pub(crate) async fn types(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// Types a line and waits for words.
    pub(crate) async fn asks(&mut self, line: &str, words: &[&str]) {
        let mark = self.said.mark();
        self.types(line).await;
        self.said.after(mark, words).await;
    }

    /// Waits until it has written down so much of a tone. Its calls must have G.711: the rate is known later.
    pub(crate) async fn hears_tone(&self, hz: u32, ms: usize) {
        wait::until("a tone in linphone's recording", async || {
            let (samples, _) = self.file()?;
            (sound::tone_ms(&samples, f64::from(hz), sound::RATE) >= ms).then_some(())
        })
        .await;
    }

    /// Its recording as it stands. The lengths in its head are wrong by the head's own: they are not read.
    fn file(&self) -> Option<(Vec<i16>, usize)> {
        let octets = std::fs::read(self.dir.path().join("heard.wav")).ok()?;
        let rate = u32::from_le_bytes(octets.get(24..28)?.try_into().ok()?);
        let pairs = octets.get(HEAD..)?.chunks_exact(2);
        Some((pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(), rate as usize))
    }
}

impl Phone for Linphone {
    const HELD: &[&str] = &["has been paused by"];
    const TAKEN_BACK: &[&str] = &["Media streams established"];

    fn said(&self) -> &Said {
        &self.said
    }

    async fn dial(&mut self, uri: &str) {
        self.asks(&format!("call {uri}"), &["Establishing call"]).await;
    }

    async fn press(&mut self, digit: char) {
        self.types(&digit.to_string()).await;
    }

    async fn hold(&mut self) {
        self.asks("pause", &["is now paused"]).await;
    }

    async fn resume(&mut self) {
        self.asks("resume", &["Media streams established"]).await;
    }

    async fn hang_up(&mut self) {
        self.asks("terminate", &["ended"]).await;
    }

    async fn gets_key(&mut self, digit: char) {
        self.said.after(0, &[&format!("Receiving tone {digit} ")]).await;
    }

    async fn heard(&mut self) -> (Vec<i16>, usize) {
        // Who has quit has closed its files.
        self.types("quit").await;
        wait::limit("linphone's end", self.child.wait()).await.expect("it runs");
        self.file().expect("a recording")
    }
}
