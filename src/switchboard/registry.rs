//! The list of live calls, by call and by dialog. The only lock around calls, held for a look-up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call::CallHandle;
use crate::sip::DialogId;
use crate::types::CallId;

#[derive(Default)]
struct Tables {
    by_id: HashMap<CallId, CallHandle>,
    by_dialog: HashMap<DialogId, CallId>,
}

/// Live calls.
#[derive(Default)]
pub struct Registry {
    tables: Mutex<Tables>,
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change below is complete before anything can panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call.
    pub fn insert(&self, handle: CallHandle) {
        let mut tables = self.tables();
        tables.by_dialog.insert(handle.dialog, handle.id);
        tables.by_id.insert(handle.id, handle);
    }

    /// Forgets a call.
    pub fn remove(&self, id: CallId) {
        let mut tables = self.tables();
        if tables.by_id.remove(&id).is_some() {
            tables.by_dialog.retain(|_, call| *call != id);
        }
    }

    /// Gives a call another dialog beside the ones it has.
    pub fn add_dialog(&self, dialog: DialogId, id: CallId) {
        let mut tables = self.tables();
        if tables.by_id.contains_key(&id) {
            tables.by_dialog.insert(dialog, id);
        }
    }

    /// Events of one more dialog are a call's: it has a second leg.
    pub fn add_leg(&self, dialog: DialogId, call: CallId) {
        self.tables().by_dialog.insert(dialog, call);
    }

    /// Forgets a second leg.
    pub fn remove_leg(&self, dialog: DialogId) {
        self.tables().by_dialog.remove(&dialog);
    }

    /// A live call.
    pub fn get(&self, id: CallId) -> Option<CallHandle> {
        self.tables().by_id.get(&id).cloned()
    }

    /// The call of a dialog.
    pub fn of_dialog(&self, dialog: DialogId) -> Option<CallHandle> {
        let tables = self.tables();
        tables.by_dialog.get(&dialog).and_then(|id| tables.by_id.get(id)).cloned()
    }

    /// Every live call.
    pub fn all(&self) -> Vec<CallHandle> {
        self.tables().by_id.values().cloned().collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.tables().by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
