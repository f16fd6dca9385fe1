//! Campaigns: made, changed, started and stopped; and their leads.

use std::collections::HashSet;

use super::orders::Wishes;
use super::{Handle, ScheduleError, plan, retry};
use crate::net::clock;
use crate::schema::agent::Overrides;
use crate::schema::campaign::{CreateCampaign, CreateLead, Schedule};
use crate::schema::order::RetryInput;
use crate::store::{Group, StoreError};
use crate::switchboard::{DialError, DialRequest};
use crate::types::order::{
    CampaignRecord, CampaignStatus, LeadRecord, OrderRecord, OrderStatus, RetryPlan,
};
use crate::types::{
    AgentId, CampaignId, LeadId, OrderId, OrganizationId, PhoneNumber, Pii, TrunkName,
};

/// Most leads of a campaign.
pub const LEADS_MAX: u64 = 100_000;
/// Most leads of one request.
pub const LEADS_OF_REQUEST_MAX: usize = 1_000;
/// Longest name, characters.
const NAME_CHARS_MAX: usize = 200;
/// Longest instructions, characters.
const INSTRUCTIONS_CHARS_MAX: usize = 50_000;

/// A command of a campaign's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Move {
    Start,
    Pause,
    Resume,
    Stop,
}

impl Move {
    /// Where it leads from a status; `None`: not from there.
    pub fn from(self, status: CampaignStatus, starts_later: bool) -> Option<CampaignStatus> {
        use CampaignStatus as S;
        match (self, status) {
            (Self::Start, S::Draft) if starts_later => Some(S::Scheduled),
            (Self::Start, S::Draft | S::Scheduled | S::Paused) => Some(S::Running),
            (Self::Pause, S::Running | S::Scheduled) => Some(S::Paused),
            (Self::Resume, S::Paused) if starts_later => Some(S::Scheduled),
            (Self::Resume, S::Paused) => Some(S::Running),
            (Self::Stop, S::Draft | S::Scheduled | S::Running | S::Paused) => Some(S::Canceled),
            _ => None,
        }
    }
}

/// Campaigns.
impl Handle {
    /// Makes a campaign.
    ///
    /// # Errors
    /// With the field that is wrong.
    pub async fn create_campaign(
        &self,
        organization: &OrganizationId,
        body: CreateCampaign,
    ) -> Result<CampaignRecord, ScheduleError> {
        let now = clock::wall();
        let id = self.id(CampaignId::new);
        let mut campaign = self.read_campaign(organization, id, body, now).await?;
        use CampaignStatus as S;
        if !matches!(campaign.status, S::Draft | S::Scheduled | S::Running | S::Paused) {
            let message = "a campaign begins as `draft`, `scheduled`, `running` or `paused`";
            return Err(ScheduleError::invalid("status", message));
        }
        campaign.created_at = now;
        self.store().insert_campaign(&campaign).await?;
        self.wake();
        Ok(campaign)
    }

    /// A campaign of an organization.
    ///
    /// # Errors
    /// When there is none.
    pub async fn campaign(
        &self,
        organization: &OrganizationId,
        id: CampaignId,
    ) -> Result<CampaignRecord, ScheduleError> {
        let found = self.store().campaign(Some(organization), id).await?;
        found.ok_or(ScheduleError::NotFound("campaign"))
    }

    /// Changes a campaign to what `body`, a whole one, says. Its status changes as by the commands.
    ///
    /// # Errors
    /// With the field that is wrong, or when the status cannot become what is asked for.
    pub async fn change_campaign(
        &self,
        before: CampaignRecord,
        body: CreateCampaign,
    ) -> Result<CampaignRecord, ScheduleError> {
        let now = clock::wall();
        let wanted = body.status.clone();
        let organization = before.organization_id.clone();
        let mut next = self.read_campaign(&organization, before.id, body, now).await?;
        next.created_at = before.created_at;
        next.completed_at = before.completed_at;
        let asked = wanted.is_some() && next.status != before.status;
        let target = next.status;
        next.status = before.status;
        let look_again = next.retry != before.retry;
        if !self.store().update_campaign(&next, before.status, look_again, None).await? {
            return Err(changed_meanwhile());
        }
        self.wake();
        if asked { self.change_status(next, target).await } else { Ok(next) }
    }

    /// Starts, pauses, resumes or stops a campaign.
    ///
    /// # Errors
    /// When it cannot from where it is.
    pub async fn move_campaign(
        &self,
        campaign: CampaignRecord,
        command: Move,
    ) -> Result<CampaignRecord, ScheduleError> {
        let later = campaign.start_at.is_some_and(|at| at > clock::wall());
        match command.from(campaign.status, later) {
            Some(status) => self.change_status(campaign, status).await,
            None => {
                let message = format!("the campaign is {}", campaign.status.as_str());
                Err(ScheduleError::State(message))
            }
        }
    }

    async fn change_status(
        &self,
        mut campaign: CampaignRecord,
        status: CampaignStatus,
    ) -> Result<CampaignRecord, ScheduleError> {
        use CampaignStatus as S;
        let from = campaign.status;
        let allowed = match (from, status) {
            (S::Completed | S::Canceled, _) => false,
            (_, S::Draft) => false,
            (_, S::Scheduled | S::Running | S::Paused | S::Completed | S::Canceled) => true,
        };
        if !allowed {
            let message =
                format!("a campaign that is {} cannot become {}", from.as_str(), status.as_str());
            return Err(ScheduleError::State(message));
        }
        let now = clock::wall();
        campaign.status = status;
        campaign.updated_at = now;
        let over = matches!(status, S::Completed | S::Canceled);
        if over {
            campaign.completed_at = Some(now);
        }
        if !self.store().update_campaign(&campaign, from, false, None).await? {
            return Err(changed_meanwhile());
        }
        if over {
            let calls = self.store().cancel_orders(Group::Campaign(campaign.id), now).await?;
            self.stop_calls(&calls).await?;
        }
        self.wake();
        Ok(campaign)
    }

    /// Removes a campaign with its leads; what has not been dialled is canceled, calls stay.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_campaign(
        &self,
        organization: &OrganizationId,
        id: CampaignId,
    ) -> Result<(), ScheduleError> {
        self.campaign(organization, id).await?;
        let now = clock::wall();
        let calls = self.store().cancel_orders(Group::Campaign(id), now).await?;
        self.stop_calls(&calls).await?;
        self.store().delete_campaign(organization, id).await?;
        self.wake();
        Ok(())
    }

    async fn read_campaign(
        &self,
        organization: &OrganizationId,
        id: CampaignId,
        body: CreateCampaign,
        now: jiff::Timestamp,
    ) -> Result<CampaignRecord, ScheduleError> {
        let doc = serde_json::to_value(&body).unwrap_or_default();
        check_texts(&body)?;
        let status = match &body.status {
            None => CampaignStatus::Draft,
            Some(word) => CampaignStatus::parse(word).ok_or_else(|| {
                let known: Vec<&str> = CampaignStatus::ALL.iter().map(|s| s.as_str()).collect();
                ScheduleError::invalid("status", format!("one of {}", known.join(", ")))
            })?,
        };
        let plan = campaign_plan(&body)?;
        let from_number = match (&body.from_number, &body.number_id) {
            (Some(from), _) => Some(from.clone()),
            (None, Some(number)) => Some(self.number(organization, number).await?),
            (None, None) => None,
        };
        let campaign = CampaignRecord {
            id,
            organization_id: organization.clone(),
            name: body.name,
            status,
            agent_id: body.agent_id.map(AgentId),
            number_id: body.number_id,
            from_number: from_number.map(Pii::new),
            trunk: body.trunk_id.map(TrunkName),
            instructions_template: body.instructions_template.map(Pii::new),
            doc: Pii::new(doc),
            retry: plan,
            start_at: time("start_at", body.start_at.as_deref())?,
            end_at: time("end_at", body.end_at.as_deref())?,
            max_concurrent: body.max_concurrent,
            cps: body.cps,
            metadata: serde_json::Value::Object(body.metadata),
            created_at: now,
            updated_at: now,
            completed_at: None,
        };
        // Agent, trunk and caller number are checked as for a call.
        let sample = DialRequest {
            to: "+15550100".to_owned(),
            from: campaign.from_number.as_ref().map(|from| from.reveal().clone()),
            agent: campaign.agent_id.clone(),
            trunk: campaign.trunk.clone(),
            organization_id: organization.clone(),
            ..DialRequest::default()
        };
        match self.switchboard().check_sample(sample).await {
            // The variables are those of the leads.
            Ok(()) | Err(DialError::Prepare(_)) => Ok(campaign),
            Err(error) => Err(error.into()),
        }
    }

    /// The E.164 text of one of our numbers.
    async fn number(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<String, ScheduleError> {
        let found = self.store().resource("number", organization, id).await?;
        let number = found.as_ref().and_then(|number| number.doc.get("number")?.as_str());
        let unknown = || ScheduleError::invalid("number_id", "there is no such number");
        number.map(str::to_owned).ok_or_else(unknown)
    }
}

fn changed_meanwhile() -> ScheduleError {
    ScheduleError::State("the campaign was changed meanwhile".to_owned())
}

fn check_texts(body: &CreateCampaign) -> Result<(), ScheduleError> {
    let length = body.name.trim().chars().count();
    if length == 0 || length > NAME_CHARS_MAX {
        let message = format!("`name` has 1 to {NAME_CHARS_MAX} characters");
        return Err(ScheduleError::invalid("name", message));
    }
    let text = body.instructions_template.as_deref().unwrap_or_default();
    if text.chars().count() > INSTRUCTIONS_CHARS_MAX {
        let message = format!("at most {INSTRUCTIONS_CHARS_MAX} characters");
        return Err(ScheduleError::invalid("instructions_template", message));
    }
    limits(body.cps, body.max_concurrent)
}

/// Checks the limits of a batch or campaign.
///
/// # Errors
/// With the field that is wrong.
pub fn limits(cps: Option<f64>, max_concurrent: Option<u32>) -> Result<(), ScheduleError> {
    if cps.is_some_and(|cps| !(cps.is_finite() && (0.01..=1_000.0).contains(&cps))) {
        return Err(ScheduleError::invalid("cps", "`cps` is 0.01 to 1000"));
    }
    if max_concurrent.is_some_and(|max| !(1..=100_000).contains(&max)) {
        return Err(ScheduleError::invalid("max_concurrent", "`max_concurrent` is 1 to 100000"));
    }
    Ok(())
}

/// Reads an RFC 3339 time.
///
/// # Errors
/// With the field, when it is none.
pub fn time(param: &str, text: Option<&str>) -> Result<Option<jiff::Timestamp>, ScheduleError> {
    let wrong = |_| {
        let message = format!("`{param}` is an RFC 3339 time, such as 2026-11-21T09:30:00Z");
        ScheduleError::invalid(param, message)
    };
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

fn campaign_plan(body: &CreateCampaign) -> Result<RetryPlan, ScheduleError> {
    let of_object = body.schedule.clone().unwrap_or_default();
    let (window, timezone) = retry::schedule(&Schedule {
        start_time: of_object.start_time.or_else(|| body.schedule_start_time.clone()),
        end_time: of_object.end_time.or_else(|| body.schedule_end_time.clone()),
        days: of_object.days,
        timezone: of_object.timezone.or_else(|| body.timezone.clone()),
    })?;
    let base = RetryPlan { windows: vec![window], timezone, ..RetryPlan::default() };
    retry::plan(body.retry.as_ref().unwrap_or(&RetryInput::default()), base)
}

/// Leads.
impl Handle {
    /// Adds leads, all or none.
    ///
    /// # Errors
    /// When a number is none, is in the campaign already and copies are not asked for, or the campaign is over or
    /// full.
    pub async fn add_leads(
        &self,
        campaign: &CampaignRecord,
        leads: Vec<CreateLead>,
        copies: bool,
    ) -> Result<Vec<(LeadRecord, OrderRecord)>, ScheduleError> {
        if matches!(campaign.status, CampaignStatus::Completed | CampaignStatus::Canceled) {
            let message = format!("the campaign is {}", campaign.status.as_str());
            return Err(ScheduleError::State(message));
        }
        if leads.is_empty() || leads.len() > LEADS_OF_REQUEST_MAX {
            let message = format!("a request has 1 to {LEADS_OF_REQUEST_MAX} leads");
            return Err(ScheduleError::invalid("leads", message));
        }
        let there = self.store().count_leads(campaign.id).await?;
        if there + leads.len() as u64 > LEADS_MAX {
            let message = format!("a campaign has at most {LEADS_MAX} leads, and has {there}");
            return Err(ScheduleError::State(message));
        }
        if !copies {
            self.refuse_duplicates(campaign.id, &leads).await?;
        }
        let lead_ids = self.ids(leads.len(), LeadId::new);
        let order_ids = self.ids(leads.len(), OrderId::new);
        let mut rows = Vec::with_capacity(leads.len());
        for (at, (lead, ids)) in
            leads.into_iter().zip(lead_ids.into_iter().zip(order_ids)).enumerate()
        {
            rows.push(self.lead(campaign, lead, ids, at)?);
        }
        match self.store().insert_leads(&rows, copies).await {
            Ok(()) => {}
            // Another request was faster with the same number.
            Err(StoreError::Taken) => {
                return Err(ScheduleError::Duplicate { param: "phone_number".to_owned() });
            }
            Err(error) => return Err(error.into()),
        }
        self.wake();
        Ok(rows)
    }

    async fn refuse_duplicates(
        &self,
        campaign: CampaignId,
        leads: &[CreateLead],
    ) -> Result<(), ScheduleError> {
        let numbers: Vec<&str> = leads.iter().map(|lead| lead.phone_number.as_str()).collect();
        let known: HashSet<String> =
            self.store().known_leads(campaign, &numbers).await?.into_iter().collect();
        let mut seen = HashSet::new();
        for (at, number) in numbers.iter().enumerate() {
            if known.contains(*number) || !seen.insert(*number) {
                return Err(ScheduleError::Duplicate { param: format!("[{at}].phone_number") });
            }
        }
        Ok(())
    }

    fn lead(
        &self,
        campaign: &CampaignRecord,
        lead: CreateLead,
        (id, order_id): (LeadId, OrderId),
        at: usize,
    ) -> Result<(LeadRecord, OrderRecord), ScheduleError> {
        if let Err(error) = PhoneNumber::parse(&lead.phone_number) {
            let param = format!("[{at}].phone_number");
            return Err(ScheduleError::invalid(param, error.to_string()));
        }
        let zone = lead.timezone.as_deref();
        let zone =
            zone.map(|zone| retry::timezone(&format!("[{at}].timezone"), zone)).transpose()?;
        let mut variables = lead.variables;
        if let Some(name) = &lead.name {
            variables.entry("name".to_owned()).or_insert_with(|| name.clone());
        }
        let request = DialRequest {
            to: lead.phone_number.clone(),
            overrides: Overrides { variables: variables.clone(), ..Overrides::default() },
            metadata: serde_json::Value::Object(lead.metadata.clone()),
            organization_id: campaign.organization_id.clone(),
            ..DialRequest::default()
        };
        // When it is dialled is decided by the campaign, at the time.
        let own = RetryPlan { ignore_window: true, ..campaign.retry.clone() };
        let wishes = Wishes { retry: own, concurrency: None, scheduled_at: None };
        let mut order = self.draft(order_id, &request, wishes)?;
        order.retry = RetryPlan { timezone: zone.clone(), ..campaign.retry.clone() };
        order.status = OrderStatus::Queued;
        order.campaign_id = Some(campaign.id);
        order.lead_id = Some(id);
        order.agent_id.clone_from(&campaign.agent_id);
        order.from_number.clone_from(&campaign.from_number);
        let never = plan::when(
            &super::outcome::plan_of(&order, Some(campaign)),
            &lead.phone_number,
            order.created_at,
        );
        if let Err(error) = never {
            return Err(ScheduleError::invalid(format!("[{at}].timezone"), error.to_string()));
        }
        let record = LeadRecord {
            id,
            campaign_id: campaign.id,
            organization_id: campaign.organization_id.clone(),
            phone_number: lead.phone_number.into(),
            name: lead.name.map(Pii::new),
            variables: variables.into(),
            timezone: zone,
            metadata: serde_json::Value::Object(lead.metadata),
            order_id,
            created_at: order.created_at,
        };
        Ok((record, order))
    }

    /// Removes a lead and cancels its order.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_lead(
        &self,
        campaign: &CampaignRecord,
        lead: LeadId,
    ) -> Result<(), ScheduleError> {
        let removed = self.store().delete_lead(campaign.id, lead, clock::wall()).await?;
        let call = removed.ok_or(ScheduleError::NotFound("lead"))?;
        self.stop_calls(call.as_slice()).await?;
        self.wake();
        Ok(())
    }
}
