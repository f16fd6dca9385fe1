//! Transfers that stay here: a second leg is dialled, and both sides hear each other through the server.

use trunkline::call::command::OnFail;
use trunkline::call::{CallCommand, SupervisorMode, TransferMode};
use trunkline::schema::calling::Redirects;
use trunkline::sip::Transport;
use trunkline::types::{CallEventKind, EndReason, TrunkName, UsageKind};

use crate::conversation::Talk;
use crate::support::line::Line;
use crate::support::peer::{Message, Peer, sdp};
use crate::support::server::{OUT, Server};
use crate::support::{sound, wait};

/// How long a tone takes from one side to the other at most: two hand-overs, a reserve of two frames, and jitter of
/// a machine that does other things.
const ACROSS_MS: usize = 200;

/// The destination: a peer that is called.
pub(crate) struct Far {
    pub(crate) peer: Peer,
    pub(crate) line: Line,
}

impl Far {
    pub(crate) async fn new(server: &Server) -> Self {
        let peer = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
        Self { peer, line: Line::new().await }
    }

    pub(crate) fn uri(&self) -> String {
        format!("sip:far@{}", self.peer.local)
    }

    pub(crate) async fn invited(&mut self) -> Message {
        let invite = self.peer.request("INVITE").await;
        self.line.connect(invite.media());
        invite
    }

    pub(crate) async fn answer(&mut self, invite: &Message, line: &str, with_sdp: bool) {
        let contact = format!("Contact: <sip:far@{}>\r\n", self.peer.local);
        let sdp = if with_sdp { sdp(self.line.local) } else { String::new() };
        self.peer.answer(invite, line, &contact, &sdp).await;
    }

    /// Hangs up, once it has picked up.
    pub(crate) async fn hangs_up(&mut self, invite: &Message) {
        let bye = format!(
            "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKfarbye;rport\r\nFrom: {};tag=peer\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            contact_of(invite),
            self.peer.local,
            invite.header("to"),
            invite.header("from"),
            invite.header("call-id"),
        );
        self.peer.send(bye.as_bytes()).await;
        assert_eq!(self.peer.final_to("BYE").await.status(), 200);
    }

    pub(crate) async fn picks_up(&mut self, invite: &Message) {
        self.answer(invite, "200 OK", true).await;
        self.peer.request("ACK").await;
    }
}

fn to(far: &Far, on_fail: OnFail) -> CallCommand {
    CallCommand::Transfer {
        replaces: None,
        destination: far.uri().into(),
        mode: TransferMode::Bridge,
        trunk: Some(TrunkName(OUT.to_owned())),
        message: None,
        brief: None,
        headers: vec![("X-Reason".to_owned(), "billing".to_owned())],
        timeout: None,
        on_fail,
    }
}

/// A leg's place is given back a moment after its call is told.
async fn no_leg_is_left(server: &Server) {
    wait::until("every leg's end", async || {
        let trunk = TrunkName(OUT.to_owned());
        (server.running.switchboard().live_on(&trunk) == 0).then_some(())
    })
    .await;
}

/// Plays a tone on one line until it is heard on the other; gives how long it was on the way, milliseconds.
async fn crosses(from: &Line, to: &Line, hz: f64) -> usize {
    let (begun, spoken) = (to.count(), from.count());
    from.say(&sound::tone(hz, 600));
    from.said().await;
    let heard = wait::until("the tone on the other side", async || {
        let audio = to.audio(begun);
        (sound::tone_ms(&audio, hz, 8_000) >= 500).then_some(audio)
    })
    .await;
    assert!(from.count() >= spoken);
    sound::next_loud(&heard, 0).expect("the tone") / 8
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_and_destination_hear_each_other_and_either_may_end_it() {
    for far_ends in [true, false] {
        let server = Server::start().await;
        let mut far = Far::new(&server).await;
        let mut talk = Talk::begin(&server, "bridge").await;
        talk.command(&server, to(&far, OnFail::Resume)).await;
        let invite = far.invited().await;
        assert_eq!(invite.header("x-reason"), "billing");
        far.answer(&invite, "180 Ringing", false).await;
        let from = talk.line.count();
        talk.line.hears(from, 600).await;
        // Somewhere in it are 100 ms without a gap.
        let rung = talk.line.audio(from);
        let rings = |block: &[i16]| {
            [440.0, 480.0].into_iter().all(|hz| sound::share_at(block, hz, 8_000) > 0.3)
        };
        assert!(rung.windows(800).step_by(160).any(rings), "no ringback");
        far.picks_up(&invite).await;
        talk.line.hears_silence(200).await;
        let there = crosses(&talk.line, &far.line, 700.0).await;
        let back = crosses(&far.line, &talk.line, 1_100.0).await;
        println!("caller to destination {there} ms, back {back} ms");
        assert!(there <= ACROSS_MS && back <= ACROSS_MS, "{there} and {back} ms");
        talk.press('7').await;
        let key = wait::until("the caller's key", async || {
            far.line.heard().into_iter().find(|packet| packet.kind & 0x7f == 101)
        })
        .await;
        assert_eq!(key.payload[0], 7);
        if far_ends {
            far.hangs_up(&invite).await;
            talk.caller.hung_up().await;
        } else {
            talk.caller.hang_up().await;
            let bye = far.peer.request("BYE").await;
            far.peer.answer(&bye, "200 OK", "", "").await;
        }
        let record = server.ended(talk.id).await;
        assert_eq!(record.end_reason, Some(EndReason::Transferred));
        let [caller, agent] = server.recording(&record);
        let ms = |channel: &[i16], hz| sound::tone_ms(channel, hz, 8_000);
        assert!(ms(&caller, 700.0) >= 500 && ms(&agent, 1_100.0) >= 500, "both sides are recorded");
        // What the two talked is used on the trunk of the leg.
        let leg = record.usage.iter().find(|row| row.destination.is_some()).expect("a leg's row");
        assert_eq!((leg.provider.as_str(), leg.kind), (OUT, UsageKind::Telephony));
        let minutes = leg.quantity;
        assert!((1.0 / 60.0..1.0).contains(&minutes), "{minutes}");
        no_leg_is_left(&server).await;
    }
}

fn contact_of(message: &Message) -> &str {
    let contact = message.header("contact");
    contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect("a contact").0
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_is_heard_instead_of_a_tone() {
    let server = Server::start().await;
    let mut far = Far::new(&server).await;
    let mut talk = Talk::begin(&server, "early").await;
    talk.command(&server, to(&far, OnFail::Resume)).await;
    let invite = far.invited().await;
    far.answer(&invite, "183 Session Progress", true).await;
    crosses(&far.line, &talk.line, 900.0).await;
    let audio = talk.line.audio(0);
    let rings = |block: &[i16]| sound::share_at(block, 440.0, 8_000) > 0.3;
    assert!(!audio.chunks_exact(800).any(rings), "no tone of ours");
    // The caller gives up while it rings.
    talk.caller.hang_up().await;
    let cancel = far.peer.request("CANCEL").await;
    far.peer.answer(&cancel, "200 OK", "", "").await;
    far.peer.answer(&invite, "487 Request Terminated", "", "").await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_take_the_call_gives_it_back() {
    let server = Server::start().await;
    let mut far = Far::new(&server).await;
    let mut talk = Talk::begin(&server, "back").await;
    let mut events = server.events();
    talk.command(&server, to(&far, OnFail::Resume)).await;
    let invite = far.invited().await;
    far.answer(&invite, "486 Busy Here", false).await;
    far.peer.request("ACK").await;
    let failed =
        crate::support::server::event(&mut events, "the failure", |event| match &event.kind {
            CallEventKind::TransferFailed { sip_status, message } => {
                Some((*sip_status, message.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(failed, (Some(486), "the destination is busy".to_owned()));
    talk.agent_says("I am sorry, I could not transfer you.").await;
    // The agent listens again.
    talk.press('1').await;
    talk.agent_finishes().await;
    no_leg_is_left(&server).await;

    // A second try succeeds, and the agent takes the caller back.
    talk.command(&server, to(&far, OnFail::Resume)).await;
    let invite = far.invited().await;
    far.picks_up(&invite).await;
    crosses(&talk.line, &far.line, 700.0).await;
    talk.command(&server, CallCommand::Resume).await;
    let bye = far.peer.request("BYE").await;
    far.peer.answer(&bye, "200 OK", "", "").await;
    talk.press('1').await;
    talk.agent_finishes().await;

    // A third ends the call when it fails.
    talk.command(&server, to(&far, OnFail::End)).await;
    let invite = far.invited().await;
    far.answer(&invite, "603 Decline", false).await;
    far.peer.request("ACK").await;
    talk.caller.hung_up().await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::TransferFailed));
}

/// The destination hears what it is about before the caller hears the destination.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_briefed_before_the_caller_is_joined() {
    for stays in [true, false] {
        let server = Server::start().await;
        let mut far = Far::new(&server).await;
        let mut talk = Talk::begin(&server, "briefed").await;
        let words = "Ann is on the line. It is about her invoice.";
        let mut transfer = to(&far, OnFail::Resume);
        if let CallCommand::Transfer { brief, .. } = &mut transfer {
            *brief = Some(words.to_owned().into());
        }
        talk.line.hears_silence(200).await;
        talk.command(&server, transfer).await;
        let invite = far.invited().await;
        let from = talk.line.count();
        far.picks_up(&invite).await;
        far.line.hears(0, 500).await;
        assert_eq!(sound::loud_ms(&talk.line.audio(from)), 0, "not for the caller");
        if !stays {
            // Whoever does not like it hangs up; the caller is back with the agent.
            far.hangs_up(&invite).await;
            talk.agent_says("I am sorry, I could not transfer you.").await;
            talk.press('1').await;
            talk.agent_finishes().await;
            talk.caller.hang_up().await;
            server.ended(talk.id).await;
            continue;
        }
        talk.agent_says(words).await;
        crosses(&talk.line, &far.line, 700.0).await;
        crosses(&far.line, &talk.line, 1_100.0).await;
        talk.caller.hang_up().await;
        let bye = far.peer.request("BYE").await;
        far.peer.answer(&bye, "200 OK", "", "").await;
        assert_eq!(server.ended(talk.id).await.end_reason, Some(EndReason::Transferred));
    }
}

/// A second leg goes on where it is sent, if its trunk follows; what it is told then counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_moved_is_followed() {
    for follows in [true, false] {
        let server = Server::with(|config| {
            let out = config.trunks.get_mut(OUT).expect("the trunk of tests");
            out.calls.redirects = if follows { Redirects::Follow } else { Redirects::Surface };
        })
        .await;
        let (mut old, mut new) = (Far::new(&server).await, Far::new(&server).await);
        let mut events = server.events();
        let mut talk = Talk::begin(&server, "moved").await;
        talk.command(&server, to(&old, OnFail::Resume)).await;
        let invite = old.invited().await;
        let contact = format!("Contact: <{}>\r\n", new.uri());
        old.peer.answer(&invite, "302 Moved Temporarily", &contact, "").await;
        old.peer.request("ACK").await;
        if follows {
            let invite = new.invited().await;
            new.picks_up(&invite).await;
            crosses(&talk.line, &new.line, 700.0).await;
            talk.caller.hang_up().await;
            let bye = new.peer.request("BYE").await;
            new.peer.answer(&bye, "200 OK", "", "").await;
        } else {
            crate::support::server::event(&mut events, "the failure", |event| {
                let kind = &event.kind;
                matches!(kind, CallEventKind::TransferFailed { sip_status: Some(302), .. })
                    .then_some(())
            })
            .await;
            talk.caller.hang_up().await;
        }
        server.ended(talk.id).await;
        no_leg_is_left(&server).await;
    }
}

fn supervise(mode: SupervisorMode, who: Option<&Far>) -> CallCommand {
    CallCommand::Supervise {
        mode,
        destination: who.map(|far| far.uri().into()),
        trunk: who.map(|_| TrunkName(OUT.to_owned())),
    }
}

/// Whether a tone is not heard on a line while it is on another.
async fn is_kept_from(to: &Line, hz: f64, from: usize) -> bool {
    sound::tone_ms(&to.audio(from), hz, 8_000) == 0
}

// The whole matrix in one call: it takes a bridge to have somebody to whisper to.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_listens_whispers_barges_in_and_leaves() {
    let server = Server::start().await;
    let (mut boss, mut far) = (Far::new(&server).await, Far::new(&server).await);
    let mut talk = Talk::begin(&server, "watched").await;

    // Alone with the agent: both are heard, nobody hears the supervisor.
    talk.command(&server, supervise(SupervisorMode::Listen, Some(&boss))).await;
    let invite = boss.invited().await;
    boss.picks_up(&invite).await;
    crosses(&talk.line, &boss.line, 700.0).await;
    let from = boss.line.count();
    talk.press('1').await;
    talk.agent_finishes().await;
    boss.line.hears(from, 500).await;
    let from = talk.line.count();
    boss.line.say(&sound::tone(1_500.0, 300));
    boss.line.said().await;
    crosses(&talk.line, &boss.line, 700.0).await;
    assert!(is_kept_from(&talk.line, 1_500.0, from).await, "a listener is not heard");

    // Barging in, the supervisor is heard and the agent is silent: keys get no answer.
    talk.command(&server, supervise(SupervisorMode::Barge, None)).await;
    crosses(&boss.line, &talk.line, 1_300.0).await;

    // With somebody else on the line, a whisper is for them alone.
    talk.command(&server, supervise(SupervisorMode::Whisper, None)).await;
    talk.command(&server, to(&far, OnFail::Resume)).await;
    let invite = far.invited().await;
    far.picks_up(&invite).await;
    crosses(&talk.line, &far.line, 700.0).await;
    crosses(&far.line, &boss.line, 1_100.0).await;
    let from = talk.line.count();
    crosses(&boss.line, &far.line, 1_500.0).await;
    crosses(&far.line, &talk.line, 1_100.0).await;
    assert!(is_kept_from(&talk.line, 1_500.0, from).await, "a whisper is not for the caller");

    // Whoever leaves leaves alone.
    talk.command(&server, supervise(SupervisorMode::Leave, None)).await;
    let bye = boss.peer.request("BYE").await;
    boss.peer.answer(&bye, "200 OK", "", "").await;
    crosses(&far.line, &talk.line, 1_100.0).await;
    talk.caller.hang_up().await;
    let bye = far.peer.request("BYE").await;
    far.peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::Transferred));
    no_leg_is_left(&server).await;
}
