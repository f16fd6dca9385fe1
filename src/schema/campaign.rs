//! Campaigns and their leads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::Counts;
use super::order::{RetryConfig, RetryInput};
use super::{time, word};
use crate::types::order::{
    CampaignRecord, CampaignStatus, LeadRecord, OrderCounts, OrderRecord, Window,
};

/// When leads are called, by their own clocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// `HH:mm` or `h:mma`; 09:00 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// `HH:mm` or `h:mma`; 17:00 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// `monday` to `sunday`; all seven when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<String>>,
    /// IANA name; null: every zone of the lead's country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// Body of `POST /v1/campaigns`; a part of it is the body of `PATCH`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCampaign {
    /// What people call it.
    pub name: String,
    /// `draft`, `scheduled`, `running`, `paused`, `completed` or `canceled`; `draft` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Agent that talks; else the trunk's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Our number to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_id: Option<String>,
    /// Number to show, instead of `number_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<String>,
    /// Trunk to leave by; else the only one that dials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk_id: Option<String>,
    /// Instructions instead of the agent's, with `{{variable}}` for the leads' values.
    #[serde(default, alias = "system_message_template", skip_serializing_if = "Option::is_none")]
    pub instructions_template: Option<String>,
    /// When leads are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Same as `schedule.start_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_start_time: Option<String>,
    /// Same as `schedule.end_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_end_time: Option<String>,
    /// Same as `schedule.timezone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Starts by itself then, if its status is `scheduled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub start_at: Option<String>,
    /// Ends then, whatever is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub end_at: Option<String>,
    /// When to call again. Its windows, if it has any, take the place of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryInput>,
    /// Most calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Most dials a second, besides the trunk's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<f64>,
    /// Kept with the campaign and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A list of people to call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Campaign {
    /// Our identifier.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `draft`, `scheduled`, `running`, `paused`, `completed` or `canceled`.
    pub status: String,
    /// Agent that talks.
    pub agent_id: Option<String>,
    /// Our number to show.
    pub number_id: Option<String>,
    /// The number itself.
    pub from_number: Option<String>,
    /// Trunk to leave by.
    pub trunk_id: Option<String>,
    /// Instructions instead of the agent's.
    pub instructions_template: Option<String>,
    /// When leads are called.
    pub schedule: Schedule,
    /// Starts by itself then.
    #[schema(format = DateTime)]
    pub start_at: Option<String>,
    /// Ends then.
    #[schema(format = DateTime)]
    pub end_at: Option<String>,
    /// When to call again.
    pub retry: RetryConfig,
    /// Most calls at once.
    pub max_concurrent: Option<u32>,
    /// Most dials a second.
    pub cps: Option<f64>,
    /// Where the leads stand.
    pub counts: Counts,
    /// Leads.
    pub total_leads: u64,
    /// Leads that are done, one way or the other.
    pub completed_leads: u64,
    /// The caller's own object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Over.
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
}

impl Campaign {
    /// A campaign and where its leads stand.
    pub fn new(campaign: &CampaignRecord, counts: &OrderCounts) -> Self {
        let open = counts.queued + counts.initiated + counts.ringing + counts.in_progress;
        Self {
            id: campaign.id.to_string(),
            name: campaign.name.clone(),
            status: campaign.status.as_str().to_owned(),
            agent_id: campaign.agent_id.as_ref().map(ToString::to_string),
            number_id: campaign.number_id.clone(),
            from_number: campaign.from_number.as_ref().map(|from| from.reveal().clone()),
            trunk_id: campaign.trunk.as_ref().map(ToString::to_string),
            instructions_template: campaign
                .instructions_template
                .as_ref()
                .map(|text| text.reveal().clone()),
            schedule: schedule(campaign),
            start_at: campaign.start_at.map(time),
            end_at: campaign.end_at.map(time),
            retry: RetryConfig::from(&campaign.retry),
            max_concurrent: campaign.max_concurrent,
            cps: campaign.cps,
            counts: Counts::from(counts),
            total_leads: counts.total,
            completed_leads: counts.total.saturating_sub(open),
            metadata: campaign.metadata.clone(),
            created_at: time(campaign.created_at),
            updated_at: time(campaign.updated_at),
            completed_at: campaign.completed_at.map(time),
        }
    }
}

/// The first window in the words of a schedule.
fn schedule(campaign: &CampaignRecord) -> Schedule {
    let text = |minute: u16| Some(format!("{:02}:{:02}", minute / 60, minute % 60));
    let window = campaign.retry.windows.first();
    let days = |window: &Window| window.days.iter().map(|day| day.as_str().to_owned()).collect();
    Schedule {
        start_time: window.and_then(|window| text(window.start_minute)),
        end_time: window.and_then(|window| text(window.end_minute)),
        days: window.map(days),
        timezone: campaign.retry.timezone.clone(),
    }
}

/// One recipient to be added to a campaign.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLead {
    /// E.164.
    #[serde(alias = "to_number")]
    pub phone_number: String,
    /// What people call them; also the variable `name`.
    #[serde(default)]
    pub name: Option<String>,
    /// Values of template variables.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// IANA name of their zone; null: the campaign's, else every zone of their country.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Kept with the lead and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// One recipient of a campaign.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Lead {
    /// Our identifier.
    pub id: String,
    /// Its campaign.
    pub campaign_id: String,
    /// E.164.
    pub phone_number: String,
    /// What people call them.
    pub name: Option<String>,
    /// Values of template variables.
    pub variables: BTreeMap<String, String>,
    /// IANA name of their zone.
    pub timezone: Option<String>,
    /// `pending`, `queued`, `calling`, `waiting_retry`, `completed`, `failed`, `skipped` or `do_not_call`.
    pub status: String,
    /// Its order.
    pub order_id: String,
    /// Dials made.
    pub attempts_count: u32,
    /// Of the last attempt.
    pub last_outcome: Option<String>,
    /// The newest call.
    pub last_call_id: Option<String>,
    /// When it is dialled next.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// Why it could not be called.
    pub error: Option<String>,
    /// The caller's own object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Added.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl Lead {
    /// A lead, its order, and where the campaign is.
    pub fn new(lead: &LeadRecord, order: &OrderRecord, campaign: CampaignStatus) -> Self {
        Self {
            id: lead.id.to_string(),
            campaign_id: lead.campaign_id.to_string(),
            phone_number: lead.phone_number.reveal().clone(),
            name: lead.name.as_ref().map(|name| name.reveal().clone()),
            variables: lead.variables.reveal().clone(),
            timezone: lead.timezone.clone(),
            status: lead.status(order, campaign).as_str().to_owned(),
            order_id: lead.order_id.to_string(),
            attempts_count: order.attempts_count,
            last_outcome: order.outcome.map(word),
            last_call_id: order.call_id.map(|id| id.to_string()),
            next_attempt_at: order.next_attempt_at.map(time),
            error: order.error.as_ref().map(|error| error.message.clone()),
            metadata: lead.metadata.clone(),
            created_at: time(lead.created_at),
            updated_at: time(order.updated_at),
        }
    }
}

/// Answer to `POST /v1/campaigns/{id}/leads`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LeadsAdded {
    /// How many.
    pub added: u64,
    /// Which.
    pub items: Vec<Lead>,
}

/// What a campaign's calls came to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CampaignReport {
    /// Its campaign.
    pub campaign_id: String,
    /// Where the leads stand.
    pub counts: Counts,
    /// Calls that are over.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// `answered / calls`; null before the first call is over.
    pub answer_rate: Option<f64>,
    /// Calls by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Conversations, together.
    pub talk_seconds_total: u64,
    /// Conversations, on average; null before the first.
    pub talk_seconds_mean: Option<f64>,
    /// The longest conversation; null before the first.
    pub talk_seconds_max: Option<f64>,
}
