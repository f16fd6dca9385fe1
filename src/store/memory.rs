//! A store that forgets: for tests, with the same contract as the one on disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::query::{CallPage, PageRequest, Query, sort_time};
use super::{ApiKeyRecord, CallStore, EVENTS_MAX, StoreError, Write};
use crate::types::{CallEvent, CallId, CallRecord, TurnId, TurnRecord};

#[derive(Clone, Default)]
struct Tables {
    calls: BTreeMap<CallId, CallRecord>,
    turns: BTreeMap<(CallId, TurnId), TurnRecord>,
    events: BTreeMap<(CallId, u64), CallEvent>,
    keys: Vec<ApiKeyRecord>,
}

impl Tables {
    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Open(record) | Write::Put(record) | Write::Finish(record) => {
                let over = self.calls.get(&record.id).is_some_and(|old| old.status.is_terminal());
                if !over || record.status.is_terminal() {
                    self.calls.insert(record.id, (**record).clone());
                }
            }
            Write::Turn(id, turn) => {
                self.known(*id)?;
                self.turns.insert((*id, turn.id), (**turn).clone());
            }
            Write::Event(event) => {
                self.known(event.call_id)?;
                let key = (event.call_id, event.seq);
                self.events.entry(key).or_insert_with(|| (**event).clone());
            }
        }
        Ok(())
    }

    fn known(&self, id: CallId) -> Result<(), StoreError> {
        if self.calls.contains_key(&id) { Ok(()) } else { Err(StoreError::UnknownCall) }
    }
}

/// Keeps everything in maps.
#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every write swaps in a finished copy, so a poisoned lock guards whole tables.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl CallStore for MemoryStore {
    fn apply<'a>(&'a self, batch: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut tables = self.tables();
        let mut next = tables.clone();
        let result = batch.iter().try_for_each(|write| next.write(write));
        if result.is_ok() {
            *tables = next;
        }
        ready(result).boxed()
    }

    fn get(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallRecord>, StoreError>> {
        done(self.tables().calls.get(&id).cloned())
    }

    fn list<'a>(
        &'a self,
        query: &'a Query,
        page: PageRequest,
    ) -> BoxFuture<'a, Result<CallPage, StoreError>> {
        let tables = self.tables();
        let mut found: Vec<_> = tables.calls.values().filter(|call| query.matches(call)).collect();
        found.sort_by_key(|call| std::cmp::Reverse((sort_time(call), call.id)));
        let total = found.len() as u64;
        let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let rows = found.into_iter().skip(skip).take(page.page_size() as usize);
        done(CallPage { items: rows.cloned().collect(), total })
    }

    fn turns(&self, id: CallId) -> BoxFuture<'_, Result<Vec<TurnRecord>, StoreError>> {
        let range = (id, TurnId(0))..=(id, TurnId(u32::MAX));
        done(self.tables().turns.range(range).map(|(_, turn)| turn.clone()).collect())
    }

    fn events(&self, id: CallId, after: u64) -> BoxFuture<'_, Result<Vec<CallEvent>, StoreError>> {
        let range = (id, after.saturating_add(1))..=(id, u64::MAX);
        let tables = self.tables();
        let events = tables.events.range(range).take(EVENTS_MAX);
        done(events.map(|(_, event)| event.clone()).collect())
    }

    fn open_calls(&self) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>> {
        let tables = self.tables();
        let open = tables.calls.values().filter(|call| !call.status.is_terminal());
        done(open.cloned().collect())
    }

    fn insert_key<'a>(&'a self, key: &'a ApiKeyRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut tables = self.tables();
        tables.keys.push(key.clone());
        tables.keys.sort_by_key(|key| key.created_at);
        done(())
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        done(self.tables().keys.clone())
    }

    fn key_by_hash<'a>(
        &'a self,
        hash: &'a str,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, StoreError>> {
        done(self.tables().keys.iter().find(|key| key.hash == hash).cloned())
    }
}
