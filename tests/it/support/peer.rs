//! A SIP peer of the tests' own: it writes text and reads text, and shares no code with the server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use trunkline::sip::Transport;

use super::server::Server;
use super::wait;

/// A message as text.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
}

impl Message {
    /// The first line.
    pub(crate) fn first(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Status code, 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        let rest = self.first().strip_prefix("SIP/2.0 ");
        rest.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// Values of a header by its long name.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let values = head.lines().skip(1).filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        });
        values.collect()
    }

    /// The only value of a header, or its first.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers(name).first().copied().unwrap_or_default()
    }

    /// Everything after the head.
    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// Address and port of the first audio stream of the SDP.
    pub(crate) fn media(&self) -> SocketAddr {
        let field = |head: &str| {
            let line = self.body().lines().find_map(|line| line.strip_prefix(head));
            line.unwrap_or_else(|| panic!("no {head} in {}", self.text)).to_owned()
        };
        let port = field("m=audio ");
        let port = port.split(' ').next().unwrap().parse().expect("a port");
        let address = field("c=IN IP")[2..].trim().parse().expect("an address");
        SocketAddr::new(address, port)
    }
}

enum Wire {
    Udp(UdpSocket),
    /// TCP, or TLS.
    Stream {
        read: Box<dyn AsyncRead + Send + Unpin>,
        write: Box<dyn AsyncWrite + Send + Unpin>,
        buffer: Vec<u8>,
    },
}

/// One socket towards a server.
pub(crate) struct Peer {
    wire: Wire,
    pub(crate) local: SocketAddr,
    pub(crate) transport: Transport,
}

impl Peer {
    /// Opens a socket from `127.0.0.1`.
    pub(crate) async fn new(server: SocketAddr, transport: Transport) -> Self {
        Self::from_ip([127, 0, 0, 1], server, transport).await
    }

    /// Opens a UDP or TCP socket from an address of one's own.
    pub(crate) async fn from_ip(ip: [u8; 4], server: SocketAddr, transport: Transport) -> Self {
        Self::bound(SocketAddr::from((ip, 0)), server, transport).await
    }

    /// Opens a socket at an address; a stream takes any.
    pub(crate) async fn bound(any: SocketAddr, server: SocketAddr, transport: Transport) -> Self {
        let (wire, local) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(any).await.expect("a socket");
                socket.connect(server).await.expect("loopback");
                let local = socket.local_addr().expect("bound");
                (Wire::Udp(socket), local)
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(server).await.expect("a connection");
                stream.set_nodelay(true).expect("an option");
                let local = stream.local_addr().expect("bound");
                return Self::on(stream, local, transport);
            }
            Transport::Tls => unreachable!("TLS needs certificates: see `on`"),
        };
        Self { wire, local, transport }
    }

    /// On a connection that is open already.
    pub(crate) fn on(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        local: SocketAddr,
        transport: Transport,
    ) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (read, write) = (Box::new(read), Box::new(write));
        Self { wire: Wire::Stream { read, write, buffer: Vec::new() }, local, transport }
    }

    /// Sends octets as one datagram, or into the stream.
    pub(crate) async fn send(&mut self, octets: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                // An ICMP error of an earlier datagram is reported here; the next one goes out.
                let _ = socket.send(octets).await;
            }
            Wire::Stream { write, .. } => write.write_all(octets).await.expect("an open stream"),
        }
    }

    /// Sends octets; `false` if the server closed the stream.
    pub(crate) async fn send_or_closed(&mut self, octets: &[u8]) -> bool {
        let Wire::Stream { write, .. } = &mut self.wire else { panic!("only for streams") };
        write.write_all(octets).await.is_ok()
    }

    /// Sends octets one by one, each in a write of its own. `false` if the server closed the stream.
    pub(crate) async fn send_in_octets(&mut self, octets: &[u8]) -> bool {
        let Wire::Stream { write, .. } = &mut self.wire else { panic!("only for streams") };
        for octet in octets {
            if write.write_all(&[*octet]).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The next message; `None` if the stream is closed.
    pub(crate) async fn receive(&mut self) -> Option<Message> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut octets = vec![0; 65_536];
                loop {
                    if let Ok(length) = socket.recv(&mut octets).await {
                        let text = String::from_utf8_lossy(&octets[..length]).into_owned();
                        return Some(Message { text });
                    }
                }
            }
            Wire::Stream { read, buffer, .. } => loop {
                if let Some(message) = take_message(buffer) {
                    return Some(message);
                }
                if read.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            },
        }
    }

    /// The next message within the limit.
    pub(crate) async fn next(&mut self) -> Message {
        wait::limit("a SIP message", self.receive()).await.expect("an open stream")
    }

    /// The next message that `wanted` takes; others are passed over.
    pub(crate) async fn find(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next final response to a method.
    pub(crate) async fn final_to(&mut self, method: &str) -> Message {
        self.find(|m| m.status() >= 200 && m.header("cseq").ends_with(method)).await
    }

    /// The next request of a method.
    pub(crate) async fn request(&mut self, method: &str) -> Message {
        self.find(|m| m.status() == 0 && m.first().starts_with(method)).await
    }

    /// Answers a request, with a body of SDP if there is one.
    pub(crate) async fn answer(&mut self, request: &Message, line: &str, extra: &str, sdp: &str) {
        let mut text = format!("SIP/2.0 {line}\r\n");
        for name in ["via", "record-route", "from", "call-id", "cseq"] {
            for value in request.headers(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let to = request.header("to");
        let tag = if to.contains(";tag=") { "" } else { ";tag=peer" };
        text.push_str(&format!("to: {to}{tag}\r\n{extra}"));
        if !sdp.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
        self.send(text.as_bytes()).await;
    }

    /// Asks OPTIONS and waits for the answer: the server lives and reads this socket.
    pub(crate) async fn probe(&mut self, mark: &str) -> Message {
        let transport = word(self.transport);
        let local = self.local;
        let text = format!(
            "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {local};branch=z9hG4bKprobe{mark};rport\r\n\
             From: <sip:probe@127.0.0.1>;tag=p{mark}\r\nTo: <sip:probe@127.0.0.1>\r\n\
             Call-ID: probe-{mark}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.send(text.as_bytes()).await;
        let call_id = format!("probe-{mark}");
        self.find(|m| m.header("call-id") == call_id).await
    }
}

fn take_message(buffer: &mut Vec<u8>) -> Option<Message> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
    }
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = Message { text: String::from_utf8_lossy(&buffer[..end]).into_owned() };
    let length: usize = head.header("content-length").parse().unwrap_or(0);
    if buffer.len() < end + length {
        return None;
    }
    let octets: Vec<u8> = buffer.drain(..end + length).collect();
    Some(Message { text: String::from_utf8_lossy(&octets).into_owned() })
}

/// SDP of a telephone with PCMU and digits.
pub(crate) fn sdp(rtp: SocketAddr) -> String {
    sdp_with(rtp, "0 101", "a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n")
}

/// SDP with other formats and attributes.
pub(crate) fn sdp_with(rtp: SocketAddr, formats: &str, attributes: &str) -> String {
    format!(
        "v=0\r\no=peer 1 1 IN IP{family} {ip}\r\ns=-\r\nc=IN IP{family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\n{attributes}",
        family = if rtp.is_ipv4() { 4 } else { 6 },
        ip = rtp.ip(),
        port = rtp.port(),
    )
}

/// A call that the tests place.
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) user: String,
    pub(crate) call_id: String,
    remote: String,
    target: String,
    host: &'static str,
    cseq: u32,
    /// Headers that go into every request.
    pub(crate) extra: String,
}

impl Caller {
    /// A caller of the agent under a user part of its own.
    pub(crate) async fn new(server: &Server, transport: Transport, user: &str) -> Self {
        let peer = Peer::new(server.sip(transport), transport).await;
        Self::over(peer, user)
    }

    /// A caller over a socket that is open already.
    pub(crate) fn over(peer: Peer, user: &str) -> Self {
        let call_id = format!("{user}-{}", peer.local.port());
        let host = if peer.local.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        Self {
            peer,
            user: user.to_owned(),
            call_id,
            remote: format!("<sip:{user}@{host}>"),
            target: format!("sip:{user}@{host}"),
            host,
            cseq: 0,
            extra: String::new(),
        }
    }

    /// A request in the dialog as it stands; `branch` makes its transaction.
    pub(crate) fn text(&self, method: &str, branch: &str, headers: &str, body: &str) -> String {
        let Self { call_id, remote, target, host, cseq, extra, .. } = self;
        let (transport, local) = (word(self.peer.transport), self.peer.local);
        let kind = match self.peer.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {local};branch=z9hG4bK{branch}-{call_id};rport\r\n\
             From: \"Caller\" <sip:+15550123@{host}>;tag=caller\r\nTo: {remote}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:caller@{local}{kind}>\r\n{extra}{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends a request that begins a transaction.
    pub(crate) async fn send(&mut self, method: &str, headers: &str, body: &str) {
        self.cseq += 1;
        let text = self.text(method, &format!("{method}{}", self.cseq), headers, body);
        self.peer.send(text.as_bytes()).await;
    }

    /// INVITE with SDP, or without if it is empty.
    pub(crate) async fn invite(&mut self, sdp: &str) {
        let headers = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.send("INVITE", headers, sdp).await;
    }

    /// ACK of a 200.
    pub(crate) async fn ack(&mut self, sdp: &str) {
        let headers = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = self.text("ACK", &format!("ACK{}", self.cseq), headers, sdp);
        self.peer.send(text.as_bytes()).await;
    }

    /// Takes tag and target of a response.
    pub(crate) fn learn(&mut self, response: &Message) {
        self.remote = response.header("to").to_owned();
        let contact = response.header("contact");
        if let Some(uri) = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
            self.target = uri.0.to_owned();
        }
    }

    /// Calls, waits for 200 and sends ACK; returns the 200.
    pub(crate) async fn call(&mut self, rtp: SocketAddr) -> Message {
        self.invite(&sdp(rtp)).await;
        let ok = self.peer.final_to("INVITE").await;
        assert_eq!(ok.status(), 200, "{}", ok.text);
        self.learn(&ok);
        self.ack("").await;
        ok
    }

    /// Calls and hangs up again if the call is taken; returns the final answer.
    pub(crate) async fn try_call(&mut self, rtp: SocketAddr) -> Message {
        self.invite(&sdp(rtp)).await;
        let answer = self.peer.final_to("INVITE").await;
        if answer.status() == 200 {
            self.learn(&answer);
            self.ack("").await;
            self.hang_up().await;
        }
        answer
    }

    /// Sends a request in the dialog and waits for its final answer.
    pub(crate) async fn ask(&mut self, method: &str, headers: &str, body: &str) -> Message {
        self.send(method, headers, body).await;
        self.peer.final_to(method).await
    }

    /// Hangs up and waits for the 200.
    pub(crate) async fn hang_up(&mut self) {
        let ok = self.ask("BYE", "", "").await;
        assert_eq!(ok.status(), 200, "{}", ok.text);
    }

    /// The server's BYE, answered.
    pub(crate) async fn hung_up(&mut self) -> Message {
        let bye = self.peer.request("BYE").await;
        self.peer.answer(&bye, "200 OK", "", "").await;
        bye
    }
}

/// What nobody answers: waits so long that a slow machine would have answered.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// The transport as Via spells it.
fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}
