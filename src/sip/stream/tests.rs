use super::*;

const ONE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 3\r\nX: y\r\n\r\nabc";

fn all(framer: &mut Framer) -> Vec<Framed> {
    std::iter::from_fn(|| framer.next().unwrap()).collect()
}

#[test]
fn one_octet_at_a_time() {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    let stream = [b"\r\n\r\n", ONE, ONE].concat();
    for octet in stream {
        framer.push(&[octet]);
        out.extend(all(&mut framer));
    }
    let message = Framed::Message(Bytes::from_static(ONE));
    assert_eq!(out, [Framed::Ping, message.clone(), message]);
}

#[test]
fn content_length_may_be_folded() {
    let mut framer = Framer::new();
    let text = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length :\r\n 2\r\n\r\nab";
    framer.push(text);
    assert_eq!(all(&mut framer), [Framed::Message(Bytes::from_static(text))]);
}

#[test]
fn what_cannot_be_framed_closes() {
    let rows = [
        ("OPTIONS sip:a@b SIP/2.0\r\n\r\n", FrameError::NoContentLength),
        ("OPTIONS sip:a@b SIP/2.0\r\nl: -1\r\n\r\n", FrameError::ContentLength),
        ("OPTIONS sip:a@b SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n", FrameError::ContentLength),
        ("OPTIONS sip:a@b SIP/2.0\r\nl: 4294967295\r\n\r\n", FrameError::TooLarge),
    ];
    for (text, error) in rows {
        let mut framer = Framer::new();
        framer.push(text.as_bytes());
        assert_eq!(framer.next(), Err(error), "{text}");
        framer.push(ONE);
        assert_eq!(framer.next(), Err(error), "an error stays");
    }
}

#[test]
fn headers_without_end_are_bounded() {
    let mut framer = Framer::new();
    let mut failed = None;
    for _ in 0..200 {
        framer.push(&[b'x'; 1_000]);
        if let Err(error) = framer.next() {
            failed = Some(error);
        }
    }
    assert_eq!(failed, Some(FrameError::TooLarge));
    assert!(framer.buffer.len() <= BUFFER_BYTES_MAX);
}
