//! What the turn machine wants done, what the providers and operators want of it.

use std::time::{Duration, Instant};

use super::DtmfWay;
use super::command::{
    CallCommand, CommandError, CommandRequest, DTMF_DIGITS_MAX, MuteState, MuteTarget,
};
use super::session::{Closing, Draft, Later, Phase, Session};
use super::tools::Then;
use super::transfer::{Stage, Transfer};
use super::voice::VoiceEvent;
use crate::media::MediaCommand;
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::tts::AlignmentMark;
use crate::sip;
use crate::telemetry::metrics;
use crate::turn::config::Yield;
use crate::turn::{AnsweringInput, Delivery, Input, Output};
use crate::types::call::{CallError, ErrorStage, TurnOrigin, TurnRole};
use crate::types::{CallEventKind, Failover, Generation, Pcm, Pii, TurnRecord};

/// Outputs of the machine handled after one wake: far above what any input makes. A machine that
/// goes on is a bug, and must not hang the task.
const OUTPUTS_PER_WAKE_MAX: usize = 256;
/// What the number of commands is counted over.
const MINUTE: Duration = Duration::from_secs(60);

impl Session {
    /// Drains the machine and does what it wants.
    pub(super) fn run_machine(&mut self) {
        for _ in 0..OUTPUTS_PER_WAKE_MAX {
            match self.machine.poll() {
                Some(output) => self.apply(output),
                None => match self.later.pop_front() {
                    Some(later) => self.follow_up(later),
                    None => return,
                },
            }
        }
        tracing::error!("the turn machine does not come to rest");
    }

    /// Tells the machine, which is drained, and does what it wants.
    pub(super) fn tell(&mut self, input: Input) {
        self.machine.handle(clock::now(), input);
        self.run_machine();
    }

    fn follow_up(&mut self, later: Later) {
        match later {
            Later::Tell(input) => self.machine.handle(clock::now(), input),
            Later::SentenceDone(generation) => self.sentence_done(generation),
            Later::Follow(then) => self.follow(then),
            Later::CallTools(turn, calls) => self.on_tool_calls(turn, calls),
        }
    }

    fn apply(&mut self, output: Output) {
        match output {
            Output::SttSpeechStarted => self.voice.speech_started(),
            Output::FinalizeStt { id } => self.voice.finalize(id),
            Output::StartReply { turn, generation, history, draft } => {
                self.draft = draft.then_some(Draft { turn, calls: None });
                if draft {
                    self.playback.hold(generation);
                }
                self.voice.reply((turn, generation), history);
            }
            Output::CommitReply { turn, generation } => {
                self.playback.release(generation);
                let draft = self.draft.take_if(|draft| draft.turn == turn);
                if let Some(calls) = draft.and_then(|draft| draft.calls) {
                    self.later.push_back(Later::CallTools(turn, calls));
                }
            }
            Output::YieldPlayback { generation, how } => self.line(match how {
                Yield::Off => return,
                Yield::Duck => MediaCommand::DuckPlayback { generation },
                Yield::Pause => MediaCommand::PausePlayback { generation },
            }),
            Output::ResumePlayback { generation } => {
                self.line(MediaCommand::ResumePlayback { generation });
            }
            Output::CancelReply { turn } => {
                self.draft.take_if(|draft| draft.turn == turn);
                self.voice.cancel(turn);
                self.cancel_tools(Some(turn));
            }
            Output::Speak { generation, seq, text, kind, by } => {
                self.closing_of(generation);
                self.opening.sentence(generation, seq, kind);
                match by {
                    Delivery::Agent => self.voice.say((generation, seq), text, kind),
                    Delivery::Voice(voice) => self.voice.say_as(&voice, (generation, seq), text),
                    Delivery::Clip => self.start_clip(generation, seq),
                    Delivery::LastResort => {
                        let pcm = self.voice.last_resort(text.reveal());
                        self.sound(generation, seq, Some(pcm));
                    }
                }
            }
            Output::EndOfSpeech { generation, sentences } => {
                self.closing_of(generation);
                self.closing.expected = Some(sentences);
                self.end_playback_when_complete();
            }
            Output::StopPlayback { generation } => {
                self.voice.hush(generation);
                self.playback.stop(generation);
                self.line(MediaCommand::StopPlayback { generation });
            }
            Output::TurnStarted { turn, role, .. } => {
                if role == TurnRole::Assistant {
                    self.opening.begins(turn);
                }
                self.journal.emit(CallEventKind::TurnStarted { turn, role });
            }
            Output::TurnEnded(record) => self.turn_ended(*record),
            Output::Partial(content) => {
                self.journal.emit(CallEventKind::TranscriptPartial { content });
            }
            Output::Hangup(reason) => self.hang_up(reason),
        }
    }

    fn turn_ended(&mut self, mut record: TurnRecord) {
        self.opening.note(&mut record);
        let (turn, origin, interrupted) = (record.id, record.origin, record.interrupted);
        let content = (origin == TurnOrigin::ApiSay).then(|| record.content.reveal().clone());
        self.voice.turn_closed(&record);
        self.voice.remember(|| self.machine.history());
        self.journal.turn(record);
        if let Some(content) = content {
            self.clip_ended(&content, interrupted);
            // The announcement cannot be interrupted: what was is something before it.
            if !interrupted {
                self.refer_after_announcement();
            }
        }
        let Some((_, then)) = self.after_turn.take_if(|(of, _)| *of == turn) else { return };
        match then {
            // Whoever goes on talking does not want to be sent away.
            Then::Transfer { .. } | Then::Hold { .. } if interrupted => {
                tracing::info!(call.id = %self.journal.record().id, "the caller went on talking: neither transferred nor held");
            }
            then => self.later.push_back(Later::Follow(then)),
        }
    }

    fn closing_of(&mut self, generation: Generation) {
        if self.closing.generation != generation {
            self.closing = Closing { generation, ..Closing::default() };
        }
    }

    fn sentence_done(&mut self, generation: Generation) {
        if self.closing.generation == generation {
            self.closing.done += 1;
            self.end_playback_when_complete();
        }
    }

    fn end_playback_when_complete(&mut self) {
        if self.closing.expected.is_some_and(|expected| self.closing.done >= expected) {
            self.playback.end(self.closing.generation);
        }
    }

    /// At the end of the call only records matter any more.
    pub(super) fn drain_turns(&mut self) {
        for _ in 0..OUTPUTS_PER_WAKE_MAX {
            match self.machine.poll() {
                Some(Output::TurnEnded(mut record)) => {
                    self.opening.note(&mut record);
                    self.journal.turn(*record);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Tells of a transcript; whether it belongs to the conversation.
    fn takes_final(&mut self, now: Instant, text: &Pii<String>, answers: Option<u32>) -> bool {
        if !text.reveal().is_empty() {
            let content = text.clone();
            self.journal.emit(CallEventKind::TranscriptFinal { content });
        }
        self.judge(now, AnsweringInput::Final(text.reveal()));
        let before_talk = super::answering::is_of_judge(answers);
        if before_talk {
            self.heard_before_talk(text.clone());
        }
        !before_talk
    }

    pub(super) fn on_voice(&mut self, event: VoiceEvent) {
        let now = clock::now();
        match event {
            VoiceEvent::Ready(_) => {}
            VoiceEvent::Recovered(stage) => {
                let stage = stage_of(stage);
                self.journal.emit(CallEventKind::ProviderRecovered { stage });
            }
            VoiceEvent::FailedOver { stage, from, to, reason } => {
                let (stage, reason) = (stage_of(stage), reason.to_owned());
                let offset_ms = self.machine.offset_ms(now);
                self.failed_over(Failover { stage, from, to, reason, offset_ms });
            }
            VoiceEvent::Retrying(error) => self.retrying(&error),
            VoiceEvent::SttPartial(text) => {
                self.judge(now, AnsweringInput::Partial(text.reveal()));
                self.machine.handle(now, Input::SttPartial(text));
            }
            VoiceEvent::SttFinal { text, confidence, answers, understood, at } => {
                if self.takes_final(now, &text, answers) {
                    let input = Input::SttFinal { text, confidence, answers, understood, at };
                    self.machine.handle(now, input);
                }
            }
            VoiceEvent::SttTurn(signal, at) => {
                self.machine.handle(now, Input::SttTurn { signal, at });
            }
            VoiceEvent::SttFailed(error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::SttFailed(error));
            }
            VoiceEvent::LlmSent(turn, at) => self.machine.handle(now, Input::LlmSent { turn, at }),
            VoiceEvent::LlmText(turn, text, at) => {
                self.machine.handle(now, Input::LlmText { turn, text, at });
            }
            VoiceEvent::LlmAlive(turn) => {
                let input = Input::LlmText { turn, text: String::new(), at: now };
                self.machine.handle(now, input);
            }
            VoiceEvent::LlmTools(turn, calls) => match &mut self.draft {
                // What a tool does cannot be taken back: it waits until the reply is the one.
                Some(draft) if draft.turn == turn => draft.calls = Some(calls),
                Some(_) | None => self.on_tool_calls(turn, calls),
            },
            VoiceEvent::LlmEndCall(turn) => self.machine.handle(now, Input::LlmEndCall { turn }),
            VoiceEvent::LlmDone(turn) => self.machine.handle(now, Input::LlmDone { turn }),
            VoiceEvent::LlmFailed(turn, error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::LlmFailed { turn, error });
            }
            VoiceEvent::TtsAudio { generation, seq, pcm, is_kept, at } => {
                self.opening.audio(generation, seq, is_kept);
                let samples = self.queue_audio(generation, pcm);
                self.machine.handle(now, Input::TtsAudio { generation, seq, samples, at });
            }
            VoiceEvent::Spoken { turn: _, generation, item, text, pcm, at } => {
                self.closing_of(generation);
                let samples = pcm.map_or(0, |pcm| self.queue_audio(generation, pcm));
                self.machine.handle(now, Input::Spoken { generation, item, text, samples, at });
            }
            VoiceEvent::SpokenDone(generation, item) => {
                self.machine.handle(now, Input::SpokenDone { generation, item });
                self.sentence_done(generation);
            }
            VoiceEvent::TtsAligned(generation, seq, marks) => {
                let marks = self.in_samples(&marks);
                self.machine.handle(now, Input::TtsAligned { generation, seq, marks });
            }
            VoiceEvent::TtsDone(generation, seq) => {
                self.machine.handle(now, Input::TtsDone { generation, seq });
                self.sentence_done(generation);
            }
            VoiceEvent::TtsFailed(generation, seq, error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::TtsFailed { generation, seq, error });
                self.sentence_done(generation);
            }
        }
    }

    /// Where marks lie on the line.
    fn in_samples(&self, marks: &[AlignmentMark]) -> Vec<(u64, u32)> {
        let rate = self.playback.rate();
        let sample = |mark: &AlignmentMark| {
            let offset = Duration::from_millis(mark.offset_ms.into());
            (rate.samples_in(offset), mark.chars)
        };
        marks.iter().map(sample).collect()
    }

    /// Puts audio behind what waits for the line; the samples that it became.
    fn queue_audio(&mut self, generation: Generation, pcm: Pcm) -> u64 {
        let queued = self.playback.push(generation, pcm);
        if queued.dropped > 0 {
            metrics::queue_full("playback_backlog");
        }
        self.voice.placed(generation, &queued);
        queued.samples
    }

    fn failed_over(&mut self, failover: Failover) {
        let Failover { stage, from, to, reason, .. } = &failover;
        let id = self.journal.record().id;
        tracing::warn!(call.id = %id, stage = stage.as_str(), from, to, reason, "another provider goes on");
        self.opening.failed_over(failover.clone());
        self.journal.failed_over(failover);
    }

    fn retrying(&mut self, error: &ProviderError) {
        tracing::warn!(call.id = %self.journal.record().id, %error, "provider failed, trying again");
        self.opening.retried(error.stage);
        self.journal.failed(super::voice::call_error(error));
    }

    fn provider_failed(&mut self, error: &CallError) {
        tracing::warn!(call.id = %self.journal.record().id, code = %error.code, message = %error.message, "provider failed");
        self.journal.failed(error.clone());
    }

    pub(super) fn on_command(&mut self, request: CommandRequest) {
        let CommandRequest { command_id, command, reply } = request;
        let name = command.name();
        let result = self.allowed().and_then(|()| self.command(command));
        if result.is_ok() {
            let command = name.to_owned();
            self.journal.emit(CallEventKind::CommandApplied { command_id, command });
        }
        // The operator may have gone away; the command stands.
        let _ = reply.send(result);
    }

    /// Whether the call takes another command this minute.
    fn allowed(&mut self) -> Result<(), CommandError> {
        let most = self.context.config.commands_per_minute as usize;
        if most == 0 {
            return Ok(());
        }
        let now = clock::now();
        while self.commands.front().is_some_and(|at| *at + MINUTE <= now) {
            self.commands.pop_front();
        }
        if self.commands.len() >= most {
            let oldest = self.commands.front().copied().unwrap_or(now);
            let wait = (oldest + MINUTE).saturating_duration_since(now);
            let retry_after_s = u32::try_from(wait.as_secs()).unwrap_or(60) + 1;
            return Err(CommandError::TooMany { retry_after_s });
        }
        self.commands.push_back(now);
        Ok(())
    }

    fn command(&mut self, command: CallCommand) -> Result<(), CommandError> {
        let now = clock::now();
        if let CallCommand::End { message: None, reason, .. } = command
            && !matches!(self.phase, Phase::Live | Phase::Over(_))
        {
            self.hang_up(match reason {
                crate::types::EndReason::ApiHangup => crate::types::EndReason::Canceled,
                other => other,
            });
            return Ok(());
        }
        if self.phase != Phase::Live {
            return Err(CommandError::NotActive);
        }
        self.may_dial(&command)?;
        if !matches!(
            command,
            CallCommand::Recording(_) | CallCommand::Mute { .. } | CallCommand::Dtmf { .. }
        ) {
            self.stop_judging();
        }
        match command {
            CallCommand::Say { content, interrupt, interruptible, end_after, voice } => {
                let by = voice.map_or(Delivery::Agent, Delivery::Voice);
                let input = Input::Say { text: content, interrupt, interruptible, end_after, by };
                self.machine.handle(now, input);
            }
            CallCommand::InjectContext { role, content, trigger_response } => {
                let input = Input::Inject { role, text: content, respond: trigger_response };
                self.machine.handle(now, input);
            }
            CallCommand::Interrupt => self.machine.handle(now, Input::Interrupt),
            CallCommand::End { message, reason, headers } => {
                self.lets_out(&headers)?;
                self.farewell = headers;
                self.machine.handle(now, Input::End { message, reason });
            }
            transfer @ CallCommand::Transfer { .. } => return self.transfer_asked(transfer),
            CallCommand::Supervise { mode, destination, trunk } => {
                return self.supervise(mode, destination, trunk);
            }
            CallCommand::Hold { music } => self.hold(music, None),
            CallCommand::Resume if self.is_bridging() => self.take_back(),
            CallCommand::Resume => self.resume(),
            CallCommand::Handoff { agent, message, keep_context } => {
                return self.hand_off(&agent, message, keep_context);
            }
            CallCommand::SetVariables(values) => return self.set_variables(values),
            CallCommand::Play { clip, repeat } => self.play(clip, repeat),
            CallCommand::Recording(change) => return self.change_recording(change),
            CallCommand::Mute { target, state } => self.mute(target, state),
            CallCommand::Dtmf { digits, duration_ms, gap_ms } => {
                self.send_digits(&digits, duration_ms, gap_ms);
            }
        }
        Ok(())
    }

    fn transfer_asked(&mut self, command: CallCommand) -> Result<(), CommandError> {
        let CallCommand::Transfer {
            destination,
            replaces,
            mode,
            trunk,
            message,
            brief,
            headers,
            timeout,
            on_fail,
        } = command
        else {
            return Ok(());
        };
        let stage = Stage::Announced;
        let transfer = Transfer {
            destination,
            mode,
            trunk,
            brief,
            headers,
            replaces,
            timeout,
            on_fail,
            stage,
        };
        self.begin_transfer(transfer, message)
    }

    fn mute(&mut self, target: MuteTarget, state: MuteState) {
        let muted = state == MuteState::Muted;
        let command = match target {
            MuteTarget::Agent => {
                self.muted.agent = muted;
                MediaCommand::MuteAgent(muted)
            }
            MuteTarget::User => {
                self.muted.user = muted;
                MediaCommand::MuteCaller(muted)
            }
        };
        self.line(command);
    }

    pub(super) fn send_digits(&mut self, digits: &Pii<String>, duration_ms: u16, gap_ms: u16) {
        self.journal.emit(CallEventKind::DtmfSent { digits: digits.clone() });
        let mut rest = digits.reveal().bytes().take(DTMF_DIGITS_MAX).peekable();
        while let Some(byte) = rest.next() {
            if matches!(byte, b'w' | b',') {
                continue;
            }
            let mut gap = gap_ms;
            while let Some(pause) = rest.next_if(|next| matches!(next, b'w' | b',')) {
                gap = gap.saturating_add(if pause == b'w' { 500 } else { 2_000 });
            }
            self.send_digit(byte.to_ascii_uppercase(), duration_ms, gap);
        }
    }

    /// One key, by the way of the trunk.
    pub(super) fn send_digit(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) {
        if self.media.dtmf == DtmfWay::Info {
            self.sip(info_of(self.dialog, digit, (duration_ms, gap_ms)));
        } else {
            self.line(MediaCommand::SendDigit { digit, duration_ms, gap_ms });
        }
    }
}

/// A key as INFO, in the form that gateways made a custom. The next follows it as a tone would.
pub(super) fn info_of(
    dialog: sip::DialogId,
    digit: u8,
    (duration_ms, gap_ms): (u16, u16),
) -> sip::Command {
    let body = format!("Signal={}\r\nDuration={duration_ms}\r\n", char::from(digit));
    let content_type = "application/dtmf-relay".to_owned();
    let spacing = Duration::from_millis(u64::from(duration_ms) + u64::from(gap_ms));
    sip::Command::Info { dialog, content_type, body: body.into_bytes().into(), spacing }
}

fn stage_of(stage: crate::providers::Stage) -> ErrorStage {
    match stage {
        crate::providers::Stage::Stt => ErrorStage::Stt,
        crate::providers::Stage::Llm | crate::providers::Stage::Realtime => ErrorStage::Llm,
        crate::providers::Stage::Tts => ErrorStage::Tts,
    }
}
