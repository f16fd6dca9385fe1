//! Changes of resources: checked, stored, then swapped in as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::check::Wrong;
use super::table::{Around, Kind, Row, Snapshot, Table, Tables};
use super::trunk::Trunk;
use super::{Catalog, engines};
use crate::net::clock;
use crate::schema::secret::WriteOnly;
use crate::schema::{Agent, AnalysisTemplate, Number, ProviderCredential, SipTrunk, ToolTemplate};
use crate::store::seal::{SealError, Sealer};
use crate::store::{Found, Part, Resource, ResourceQuery, Store, StoreError};
use crate::types::{OrganizationId, Secret, TrunkName};

/// Resources of one kind an organization may have.
const RESOURCES_MAX: usize = 10_000;
/// Versions of an agent that are kept; the oldest goes when one more is made.
const VERSIONS_MAX: u32 = 200;
/// Kind of the rows that keep former versions of agents.
const VERSION_KIND: &str = "agent_version";

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is none of this id, or it is somebody else's.
    #[error("there is no such resource")]
    NotFound,
    /// It stands in the configuration.
    #[error("it stands in the configuration file: change it there")]
    FromConfig,
    /// Another has the name that may exist once.
    #[error("another has this number already")]
    Taken,
    /// Somebody else changed it first.
    #[error("it was changed meanwhile")]
    Stale,
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Wrong),
    /// There are [`RESOURCES_MAX`] already.
    #[error("an organization has at most {RESOURCES_MAX} of a kind")]
    TooMany,
    /// This catalog has no store.
    #[error("this server keeps no resources")]
    ReadOnly,
    /// The store.
    #[error("use the store")]
    Store(#[source] StoreError),
    /// A secret.
    #[error("keep a secret")]
    Seal(#[from] SealError),
}

impl From<StoreError> for CatalogError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken => Self::Taken,
            StoreError::Stale => Self::Stale,
            error => Self::Store(error),
        }
    }
}

/// Where resources are kept.
pub(super) struct Keeper {
    pub(super) store: Arc<Store>,
    pub(super) sealer: Arc<Sealer>,
}

impl Keeper {
    fn resource<T: Kind>(&self, row: &Row<T>) -> Result<Resource, CatalogError> {
        let sealed = match &row.secret {
            Some(secret) => Some(self.sealer.seal(T::KIND, &row.id, secret.expose().as_bytes())?),
            None => None,
        };
        Ok(Resource {
            kind: T::KIND,
            id: row.id.clone(),
            organization_id: row.organization_id.clone(),
            // What is put away leaves its name to others.
            unique_key: row.doc.unique_key().filter(|_| !row.archived),
            version: row.version,
            archived: row.archived,
            created_at: row.created_at,
            updated_at: row.updated_at,
            doc: serde_json::Value::Object(super::patch::object(&row.doc)),
            sealed,
        })
    }

    fn row<T: Kind>(&self, resource: Resource) -> Result<Row<T>, CatalogError> {
        let secret = match &resource.sealed {
            Some(sealed) => {
                let plain = self.sealer.open(T::KIND, &resource.id, sealed)?;
                Some(Secret::new(String::from_utf8_lossy(&plain)))
            }
            None => None,
        };
        let doc = serde_json::from_value(resource.doc)
            .map_err(|error| CatalogError::Store(StoreError::Decode(error)))?;
        Ok(Row {
            id: resource.id,
            organization_id: resource.organization_id,
            version: resource.version,
            created_at: resource.created_at,
            updated_at: resource.updated_at,
            archived: resource.archived,
            from_config: false,
            doc,
            secret,
        })
    }

    async fn table<T: Kind>(&self) -> Result<Table<T>, CatalogError> {
        let mut table = BTreeMap::new();
        for resource in self.store.all_resources(T::KIND).await? {
            let row: Row<T> = self.row(resource)?;
            table.insert(row.id.clone(), Arc::new(row));
        }
        Ok(table)
    }
}

impl Snapshot {
    /// Makes what is looked up by other names than the id.
    pub(super) fn index(&mut self) {
        self.by_number = HashMap::new();
        let tables = [&self.stored.numbers, &self.directory.tables.numbers];
        for row in tables.into_iter().flat_map(|table| table.values()) {
            let number = row.doc.number.strip_prefix('+').unwrap_or(&row.doc.number);
            self.by_number.insert(number.to_owned(), row.id.clone());
        }
        let advertised = self.directory.settings.advertised;
        let ready = |(id, row): (&String, &Arc<Row<SipTrunk>>)| {
            let name = TrunkName(id.clone());
            (name, Arc::new(Trunk::of_row(row, advertised)))
        };
        self.trunks = self.stored.trunks.iter().map(ready).collect();
    }
}

impl Catalog {
    fn keeper(&self) -> Result<&Keeper, CatalogError> {
        self.inner.keeper.as_ref().ok_or(CatalogError::ReadOnly)
    }

    /// Reads everything that is stored.
    pub(super) async fn load(&self) -> Result<(), CatalogError> {
        let keeper = self.keeper()?;
        let _one = self.inner.writing.lock().await;
        let mut next = (*self.snapshot()).clone();
        next.stored = Tables {
            agents: keeper.table::<Agent>().await?,
            numbers: keeper.table::<Number>().await?,
            trunks: keeper.table::<SipTrunk>().await?,
            tool_templates: keeper.table::<ToolTemplate>().await?,
            analysis_templates: keeper.table::<AnalysisTemplate>().await?,
            credentials: keeper.table::<ProviderCredential>().await?,
        };
        next.epoch += 1;
        next.index();
        self.swap(next);
        Ok(())
    }

    fn put<T: Kind>(&self, row: Row<T>) -> Arc<Row<T>> {
        let row = Arc::new(row);
        let mut next = (*self.snapshot()).clone();
        let table = T::table_mut(&mut next.stored);
        if row.archived {
            table.remove(&row.id);
        } else {
            table.insert(row.id.clone(), Arc::clone(&row));
        }
        self.changed_kind::<T>(next);
        row
    }

    fn changed_kind<T: Kind>(&self, mut next: Snapshot) {
        if engines::shapes_agents::<T>() {
            next.epoch += 1;
        }
        next.index();
        self.swap(next);
    }

    /// Adds a resource.
    ///
    /// # Errors
    /// When it is wrong, its unique name is taken, or it cannot be stored.
    pub async fn create<T: Kind>(
        &self,
        organization: &OrganizationId,
        mut doc: T,
    ) -> Result<Arc<Row<T>>, CatalogError> {
        let keeper = self.keeper()?;
        let _one = self.inner.writing.lock().await;
        let snapshot = self.snapshot();
        if snapshot.rows::<T>(organization).len() >= RESOURCES_MAX {
            return Err(CatalogError::TooMany);
        }
        let secret = take_secret(&mut doc)?;
        doc.check(&Around { snapshot: &snapshot, organization, from_config: false })?;
        if let Some(key) = doc.unique_key()
            && T::table(&snapshot.directory.tables)
                .values()
                .any(|row| row.doc.unique_key().as_ref() == Some(&key))
        {
            return Err(CatalogError::Taken);
        }
        let now = clock::wall();
        let row = Row {
            id: self.new_id(),
            organization_id: organization.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
            archived: false,
            from_config: false,
            doc,
            secret: secret.flatten(),
        };
        keeper.store.insert_resource(&keeper.resource(&row)?).await?;
        self.note_version(keeper, &row).await?;
        Ok(self.put(row))
    }

    /// Changes a resource; `change` gets its fields, without the secret, which stays unless it says otherwise.
    ///
    /// # Errors
    /// When there is none, it is read-only, of another version than `expected`, or wrong afterwards.
    pub async fn update<T: Kind, E: From<CatalogError>>(
        &self,
        organization: &OrganizationId,
        id: &str,
        expected: Option<u32>,
        change: impl FnOnce(&T) -> Result<(T, SecretChange), E> + Send,
    ) -> Result<Arc<Row<T>>, E> {
        let keeper = self.keeper()?;
        let _one = self.inner.writing.lock().await;
        let snapshot = self.snapshot();
        let row = snapshot.row::<T>(organization, id).ok_or(CatalogError::NotFound)?;
        if row.from_config {
            return Err(CatalogError::FromConfig.into());
        }
        if expected.is_some_and(|version| version != row.version) {
            return Err(CatalogError::Stale.into());
        }
        let (mut doc, secret) = change(&row.doc)?;
        let given = take_secret(&mut doc)?;
        let around = Around { snapshot: &snapshot, organization, from_config: false };
        doc.check(&around).map_err(CatalogError::Invalid)?;
        let next = Row {
            version: row.version + 1,
            updated_at: clock::wall(),
            doc,
            secret: match (secret, given) {
                (SecretChange::Keep, _) => row.secret.clone(),
                (SecretChange::Set, given) => given.flatten(),
            },
            ..(*row).clone()
        };
        let resource = keeper.resource(&next)?;
        keeper.store.update_resource(&resource).await.map_err(CatalogError::from)?;
        self.note_version(keeper, &next).await?;
        Ok(self.put(next))
    }

    /// Puts a resource away, so that its history stays: agents.
    ///
    /// # Errors
    /// When there is none, or it is read-only.
    pub async fn archive<T: Kind>(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<(), CatalogError> {
        let keeper = self.keeper()?;
        let _one = self.inner.writing.lock().await;
        let row = self.snapshot().row::<T>(organization, id).ok_or(CatalogError::NotFound)?;
        if row.from_config {
            return Err(CatalogError::FromConfig);
        }
        let next = Row {
            version: row.version + 1,
            updated_at: clock::wall(),
            archived: true,
            ..(*row).clone()
        };
        keeper.store.update_resource(&keeper.resource(&next)?).await?;
        self.put(next);
        Ok(())
    }

    /// Removes a resource for good.
    ///
    /// # Errors
    /// When there is none, or it is read-only.
    pub async fn remove<T: Kind>(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<(), CatalogError> {
        let keeper = self.keeper()?;
        let _one = self.inner.writing.lock().await;
        let snapshot = self.snapshot();
        let row = snapshot.row::<T>(organization, id).ok_or(CatalogError::NotFound)?;
        if row.from_config {
            return Err(CatalogError::FromConfig);
        }
        keeper.store.delete_resource(T::KIND, organization, id).await?;
        let mut next = (*snapshot).clone();
        T::table_mut(&mut next.stored).remove(id);
        self.changed_kind::<T>(next);
        Ok(())
    }

    /// A resource of an organization, also one that was put away.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find<T: Kind>(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Option<Arc<Row<T>>>, CatalogError> {
        if let Some(row) = self.snapshot().row::<T>(organization, id) {
            return Ok(Some(row));
        }
        let Some(keeper) = &self.inner.keeper else { return Ok(None) };
        let found = keeper.store.resource(T::KIND, organization, id).await?;
        found.map(|resource| keeper.row(resource).map(Arc::new)).transpose()
    }

    /// Keeps an agent as it is now.
    async fn note_version<T: Kind>(
        &self,
        keeper: &Keeper,
        row: &Row<T>,
    ) -> Result<(), CatalogError> {
        if T::KIND != Agent::KIND {
            return Ok(());
        }
        let id = |version: u32| format!("{}:{version}", row.id);
        let version = Resource {
            kind: VERSION_KIND,
            id: id(row.version),
            organization_id: row.organization_id.clone(),
            unique_key: None,
            version: 1,
            archived: false,
            created_at: row.updated_at,
            updated_at: row.updated_at,
            doc: serde_json::json!({"agent_id": row.id, "agent": row.view()}),
            sealed: None,
        };
        keeper.store.insert_resource(&version).await?;
        if let Some(oldest) = row.version.checked_sub(VERSIONS_MAX) {
            keeper.store.delete_resource(VERSION_KIND, &row.organization_id, &id(oldest)).await?;
        }
        Ok(())
    }

    /// Versions of an agent, newest first: each as the API showed it then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn versions(
        &self,
        organization: &OrganizationId,
        id: &str,
        part: Part,
    ) -> Result<Found<Resource>, CatalogError> {
        let query = ResourceQuery {
            kind: VERSION_KIND,
            organization_id: organization.clone(),
            archived: false,
            equal: vec![("agent_id", id.to_owned())],
            part,
        };
        Ok(self.keeper()?.store.list_resources(&query).await?)
    }
}

/// What a change says of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// Nothing.
    Keep,
    /// It names one, or none.
    Set,
}

/// The secret of a new document: `None` for kinds without one.
fn take_secret<T: Kind>(doc: &mut T) -> Result<Option<Option<Secret>>, CatalogError> {
    let Some(field) = doc.secret_mut() else { return Ok(None) };
    if field.is_reference() {
        let message = "a secret as text; references are for the configuration";
        return Err(CatalogError::Invalid(super::check::wrong(secret_name::<T>(), message)));
    }
    let text = field.take_text();
    if T::KIND == Agent::KIND && text.as_ref().is_some_and(|text| text.signing_key().is_none()) {
        let message = "a signing secret is `whsec_` and 24 to 64 octets in base64";
        return Err(CatalogError::Invalid(super::check::wrong(secret_name::<T>(), message)));
    }
    *field = WriteOnly::None;
    Ok(Some(text))
}

/// Name of a kind's secret field; empty for kinds without one.
pub fn secret_name<T: Kind>() -> &'static str {
    match T::KIND {
        "agent" => "webhook_secret",
        "sip_trunk" => "password",
        "provider_credential" => "api_key",
        _ => "",
    }
}
