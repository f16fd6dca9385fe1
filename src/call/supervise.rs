//! A supervisor on the line of a call: a leg that listens, whispers to the far side of a bridge, or talks with everybody.

use super::bridge::FAR;
use super::command::{CommandError, SupervisorMode};
use super::feed::{Feed, Mirror};
use super::leg::{Dialling, Leg, LegNews, LegPlan, LegWake};
use super::session::{Phase, Session};
use crate::media::{MediaCommand, MediaEvent, PlayoutFrame};
use crate::sip;
use crate::turn::Input;
use crate::types::{CallEventKind, Pii, SampleRate, TrunkName};

/// Where a supervisor is heard in the others' streams, and the far side in the supervisor's.
const SUPERVISOR: usize = 1;

/// A supervisor of a call.
pub(super) type Supervision = Dialling<Supervisor>;

/// A supervisor's leg, and who hears whom.
pub(super) struct Supervisor {
    leg: Leg,
    mode: SupervisorMode,
    from_caller: Feed,
    from_far: Feed,
    from_agent: Mirror,
    to_caller: Feed,
    /// Into the far side of the bridge that there is.
    to_far: Option<Feed>,
}

impl AsMut<Leg> for Supervisor {
    fn as_mut(&mut self) -> &mut Leg {
        &mut self.leg
    }
}

fn of(supervision: &mut Option<Supervision>) -> Option<&mut Supervisor> {
    match supervision {
        Some(Dialling::Dialled(supervisor)) if supervisor.leg.is_answered() => Some(supervisor),
        _ => None,
    }
}

/// A frame of the agent's that goes to the caller.
pub(super) fn mirror(
    supervision: &mut Option<Supervision>,
    frame: &PlayoutFrame,
    rate: SampleRate,
) {
    if let Some(Supervisor { leg, from_agent, .. }) = of(supervision) {
        let rates = (rate, leg.rate());
        from_agent.push(frame, rates, &mut leg.stream);
    }
}

/// What becomes of the agent's audio for the caller becomes of it for the supervisor.
pub(super) fn mirror_command(supervision: &mut Option<Supervision>, command: MediaCommand) {
    let of_playback = matches!(
        command,
        MediaCommand::StopPlayback { .. }
            | MediaCommand::PausePlayback { .. }
            | MediaCommand::DuckPlayback { .. }
            | MediaCommand::ResumePlayback { .. }
    );
    if of_playback && let Some(supervisor) = of(supervision) {
        supervisor.leg.command(command);
    }
}

impl Session {
    /// Calls a supervisor, changes what the one on the line may do, or lets them go.
    pub(super) fn supervise(
        &mut self,
        mode: SupervisorMode,
        destination: Option<Pii<String>>,
        trunk: Option<TrunkName>,
    ) -> Result<(), CommandError> {
        match (mode, &mut self.supervisor, destination) {
            (SupervisorMode::Leave, None, _) => return Err(CommandError::NoSupervisor),
            (SupervisorMode::Leave, Some(_), _) => self.supervisor_over(),
            (_, Some(_), Some(_)) => return Err(CommandError::Supervised),
            (_, None, None) => return Err(CommandError::NoSupervisor),
            (_, Some(Dialling::Planned(_)), None) => return Err(CommandError::Busy),
            (mode, Some(Dialling::Dialled(supervisor)), None) => {
                supervisor.mode = mode;
                if supervisor.leg.is_answered() {
                    self.supervisor_says(mode);
                }
            }
            (mode, None, Some(destination)) => {
                self.supervisor_mode = mode;
                let plan = self.context.legs.plan(self.leg_request(trunk, destination));
                self.supervisor = Some(Dialling::Planned(plan));
            }
        }
        Ok(())
    }

    pub(super) fn on_supervisor(&mut self, wake: LegWake) {
        match wake {
            LegWake::Planned(Ok(plan)) => self.supervisor_planned(*plan),
            LegWake::Planned(Err(error)) => self.supervisor_failed(None, &error.to_string()),
            LegWake::Media(Some(MediaEvent::Frame { frame, .. })) => {
                let Some(supervisor) = of(&mut self.supervisor) else { return };
                let said = frame.samples();
                if supervisor.mode == SupervisorMode::Barge {
                    supervisor.to_caller.push(said);
                }
                if supervisor.mode != SupervisorMode::Listen
                    && let Some(to_far) = &mut supervisor.to_far
                {
                    to_far.push(said);
                }
            }
            LegWake::Media(Some(MediaEvent::KeyingFailed(_)))
                if of(&mut self.supervisor).is_some() =>
            {
                self.supervisor_over();
            }
            LegWake::Media(Some(MediaEvent::MediaTimeout) | None) => self.supervisor_over(),
            LegWake::Media(Some(_)) => {}
            LegWake::Redirected(target) => {
                if let Some(Dialling::Dialled(supervisor)) = &mut self.supervisor {
                    let news = supervisor.leg.on_redirected(target);
                    self.supervisor_news(news);
                }
            }
        }
    }

    fn supervisor_planned(&mut self, plan: LegPlan) {
        let call = self.journal.record().id;
        let Some(near) = &mut self.stream else { return };
        let mut leg = match Leg::dial(plan, call, &self.context) {
            Ok(leg) => leg,
            Err(error) => {
                let message = crate::telemetry::chain::chain(&error).to_string();
                self.supervisor_failed(None, &message);
                return;
            }
        };
        near.set_brisk(true);
        leg.stream.set_brisk(true);
        let supervisor = Supervisor {
            mode: self.supervisor_mode,
            from_caller: Feed::into(&mut leg.stream, FAR),
            from_far: Feed::into(&mut leg.stream, SUPERVISOR),
            from_agent: Mirror::default(),
            to_caller: Feed::into(near, SUPERVISOR),
            to_far: None,
            leg,
        };
        self.supervisor = Some(Dialling::Dialled(Box::new(supervisor)));
        self.join_far_and_supervisor();
    }

    /// Lets the far side of a bridge and a supervisor hear each other, once both are there.
    pub(super) fn join_far_and_supervisor(&mut self) {
        if let Some(Dialling::Dialled(supervisor)) = &mut self.supervisor {
            supervisor.to_far = match &mut self.bridge {
                Some(Dialling::Dialled(far)) => Some(Feed::into(far.stream(), SUPERVISOR)),
                _ => None,
            };
        }
        self.set_supervisor_rates();
    }

    fn set_supervisor_rates(&mut self) {
        let near = self.line_rate();
        let far = self.far_rate().unwrap_or(near);
        let Some(Dialling::Dialled(supervisor)) = &mut self.supervisor else { return };
        let own = supervisor.leg.rate();
        supervisor.from_caller.set_rates(near, own);
        supervisor.from_far.set_rates(far, own);
        supervisor.to_caller.set_rates(own, near);
        if let Some(to_far) = &mut supervisor.to_far {
            to_far.set_rates(own, far);
        }
    }

    /// Whether a SIP event is of the supervisor's dialog.
    pub(super) fn is_of_supervisor(&self, event: &sip::Event) -> bool {
        matches!(&self.supervisor, Some(Dialling::Dialled(supervisor))
            if supervisor.leg.dialog() == event.dialog())
    }

    pub(super) fn on_supervisor_sip(&mut self, event: sip::Event) {
        let Some(Dialling::Dialled(supervisor)) = &mut self.supervisor else { return };
        let news = supervisor.leg.on_sip(event);
        self.set_supervisor_rates();
        self.supervisor_news(news);
    }

    fn supervisor_news(&mut self, news: LegNews) {
        match news {
            LegNews::None | LegNews::Ringing(_) | LegNews::Digit(_) => {}
            LegNews::Answered => {
                if let Some(Dialling::Dialled(supervisor)) = &self.supervisor {
                    self.supervisor_says(supervisor.mode);
                }
            }
            LegNews::Failed(failure) => {
                self.supervisor_failed(failure.status, "the supervisor did not take the call");
            }
            LegNews::Ended => self.supervisor_over(),
        }
    }

    /// 20 ms of the caller or of the far side, for the supervisor.
    pub(super) fn supervisor_hears(&mut self, samples: &[i16], is_far: bool) {
        let Some(supervisor) = of(&mut self.supervisor) else { return };
        let feed = if is_far { &mut supervisor.from_far } else { &mut supervisor.from_caller };
        feed.push(samples);
    }

    /// Whether a supervisor talks with the caller: the agent is silent then.
    pub(super) fn is_barged(&self) -> bool {
        matches!(&self.supervisor, Some(Dialling::Dialled(supervisor))
            if supervisor.leg.is_answered() && supervisor.mode == SupervisorMode::Barge)
    }

    /// The mode holds from now on.
    fn supervisor_says(&mut self, mode: SupervisorMode) {
        let mode = mode.as_str().to_owned();
        self.journal.emit(CallEventKind::Supervised { mode });
        self.hold_agent();
    }

    fn supervisor_failed(&mut self, sip_status: Option<u16>, message: &str) {
        self.supervisor = None;
        let message = message.to_owned();
        self.journal.emit(CallEventKind::SupervisorFailed { sip_status, message });
    }

    /// What the legs that are there talked goes into the books of the call, which ends.
    pub(super) fn note_legs(&mut self) {
        if let Some(Dialling::Dialled(far)) = self.bridge.take() {
            far.leg().note(&mut self.leg_usage);
        }
        if let Some(Dialling::Dialled(supervisor)) = self.supervisor.take() {
            supervisor.leg.note(&mut self.leg_usage);
        }
        if let Some(place) = self.succeeded.take() {
            place.note(&mut self.leg_usage);
        }
    }

    fn supervisor_over(&mut self) {
        let was_there = of(&mut self.supervisor).is_some();
        if let Some(Dialling::Dialled(supervisor)) = &self.supervisor {
            supervisor.leg.note(&mut self.leg_usage);
        }
        self.supervisor = None;
        if was_there {
            self.supervisor_says(SupervisorMode::Leave);
        }
        if !self.is_bridging()
            && let Some(stream) = &self.stream
        {
            stream.set_brisk(false);
        }
    }

    /// The agent is silent while others talk with the caller.
    pub(super) fn hold_agent(&mut self) {
        if self.phase == Phase::Live {
            let away = self.is_agent_away() || self.our_hold.is_some();
            self.tell(Input::Held(away));
        }
    }

    /// Whether the caller talks with somebody else.
    pub(super) fn is_agent_away(&self) -> bool {
        self.is_bridging() || self.is_barged() || self.is_alone()
    }
}
