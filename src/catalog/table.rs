//! Resources in memory: rows, tables of them, and the one snapshot everybody reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::Wrong;
use super::directory::Directory;
use super::trunk::Trunk;
use crate::schema::secret::WriteOnly;
use crate::schema::{
    Agent, AnalysisTemplate, Number, ProviderCredential, SipTrunk, ToolTemplate, View, time,
};
use crate::types::{OrganizationId, Secret, TrunkName};

/// One resource in memory.
#[derive(Clone)]
pub struct Row<T> {
    /// Identifier: a UUIDv7, or the key in the configuration.
    pub id: String,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Counts the changes, from 1.
    pub version: u32,
    /// Made.
    pub created_at: jiff::Timestamp,
    /// Last changed.
    pub updated_at: jiff::Timestamp,
    /// Put away.
    pub archived: bool,
    /// Whether it stands in the configuration and is read-only.
    pub from_config: bool,
    /// Its fields, without the secret.
    pub doc: T,
    /// Its secret.
    pub secret: Option<Secret>,
}

impl<T: Kind> Row<T> {
    /// A row of the configuration.
    pub fn of_config(id: &str, doc: T, secret: Option<Secret>, at: jiff::Timestamp) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            organization_id: OrganizationId::default(),
            version: 1,
            created_at: at,
            updated_at: at,
            archived: false,
            from_config: true,
            doc,
            secret,
        })
    }

    /// As the API shows it.
    pub fn view(&self) -> View<T> {
        let mut fields = self.doc.clone();
        if let Some(secret) = fields.secret_mut() {
            *secret = WriteOnly::None;
        }
        View {
            id: self.id.clone(),
            version: self.version,
            organization_id: self.organization_id.to_string(),
            managed_by: if self.from_config { "config" } else { "api" }.to_owned(),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            archived_at: self.archived.then(|| time(self.updated_at)),
            fields,
        }
    }
}

/// Resources of one kind, by id.
pub type Table<T> = BTreeMap<String, Arc<Row<T>>>;

/// A kind of resource.
pub trait Kind:
    Serialize + DeserializeOwned + Clone + Send + Sync + utoipa::ToSchema + 'static
{
    /// Name in the store.
    const KIND: &'static str;
    /// Name for people.
    const NAME: &'static str;
    /// Its table.
    fn table(tables: &Tables) -> &Table<Self>;
    /// Its table, to be changed.
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
    /// A name that may exist once on the server.
    fn unique_key(&self) -> Option<String> {
        None
    }
    /// Its secret.
    fn secret_mut(&mut self) -> Option<&mut WriteOnly> {
        None
    }
    /// Checks what types cannot express.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn check(&self, around: &Around<'_>) -> Result<(), Wrong>;
}

/// What a resource is checked against.
pub struct Around<'a> {
    /// Everything there is.
    pub snapshot: &'a Snapshot,
    /// Whose it is.
    pub organization: &'a OrganizationId,
    /// Whether it stands in the configuration.
    pub from_config: bool,
}

impl Around<'_> {
    /// Whether a resource that another names exists for its owner.
    pub fn has<T: Kind>(&self, id: &str) -> bool {
        self.snapshot.row::<T>(self.organization, id).is_some()
    }
}

/// Every resource of one origin.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "each table is named after its kind")]
pub struct Tables {
    pub agents: Table<Agent>,
    pub numbers: Table<Number>,
    pub trunks: Table<SipTrunk>,
    pub tool_templates: Table<ToolTemplate>,
    pub analysis_templates: Table<AnalysisTemplate>,
    pub credentials: Table<ProviderCredential>,
}

/// Everything at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// What the configuration says.
    pub directory: Arc<Directory>,
    /// What was made over the API.
    pub stored: Tables,
    /// Trunks of the API, ready to be used.
    pub(super) trunks: BTreeMap<TrunkName, Arc<Trunk>>,
    /// Registered numbers: id by number.
    pub(super) by_number: HashMap<String, String>,
    /// Changes when anything changes that agents are compiled from besides themselves.
    pub(super) epoch: u64,
}

impl Snapshot {
    /// A resource of an organization: what stands in the configuration belongs to the first one.
    pub fn row<T: Kind>(&self, organization: &OrganizationId, id: &str) -> Option<Arc<Row<T>>> {
        let tables = [&self.stored, &self.directory.tables];
        let found = tables.into_iter().find_map(|tables| T::table(tables).get(id));
        found.filter(|row| row.organization_id == *organization).cloned()
    }

    /// All resources of an organization, newest first; those of the configuration last, by key.
    pub fn rows<T: Kind>(&self, organization: &OrganizationId) -> Vec<Arc<Row<T>>> {
        let own = |row: &&Arc<Row<T>>| row.organization_id == *organization;
        let mut rows: Vec<_> =
            T::table(&self.stored).values().rev().filter(own).map(Arc::clone).collect();
        rows.extend(T::table(&self.directory.tables).values().filter(own).map(Arc::clone));
        rows
    }
}

macro_rules! kinds {
    ($($type:ident, $kind:literal, $name:literal, $table:ident { $($more:tt)* })+) => {$(
        impl Kind for $type {
            const KIND: &'static str = $kind;
            const NAME: &'static str = $name;

            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$table
            }

            fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
                &mut tables.$table
            }

            fn check(&self, around: &Around<'_>) -> Result<(), Wrong> {
                super::check::$table(self, around)
            }

            $($more)*
        }
    )+};
}

kinds! {
    Agent, "agent", "agent", agents {
        fn secret_mut(&mut self) -> Option<&mut WriteOnly> {
            Some(&mut self.webhook_secret)
        }
    }
    Number, "number", "number", numbers {
        fn unique_key(&self) -> Option<String> {
            Some(self.number.clone())
        }
    }
    SipTrunk, "sip_trunk", "SIP trunk", trunks {
        fn secret_mut(&mut self) -> Option<&mut WriteOnly> {
            Some(&mut self.password)
        }
    }
    ToolTemplate, "tool_template", "tool template", tool_templates {}
    AnalysisTemplate, "analysis_template", "analysis template", analysis_templates {}
    ProviderCredential, "provider_credential", "provider credential", credentials {
        fn secret_mut(&mut self) -> Option<&mut WriteOnly> {
            Some(&mut self.api_key)
        }
    }
}
