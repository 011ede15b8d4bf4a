//! The actions there are, by kind and number, and who uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::sched::act::{Action, ActionKind};
use skiff_dataplane::time::Instant;

use super::print::ActionRow;
use super::{ActionCommand, ActionRequest};
use crate::tc::error::{Errno, TcError};

/// An action by kind and number.
pub type ActionRef = (&'static str, u32);

#[derive(Clone, Debug)]
struct Instance {
    action: Arc<Action>,
    binds: u32,
    standalone: bool,
}

/// All actions.
#[derive(Clone, Debug, Default)]
pub struct ActionTable {
    instances: BTreeMap<ActionRef, Instance>,
    /// Of each kind, a number below which all are taken.
    taken_below: BTreeMap<&'static str, u32>,
}

/// What a `tc actions` command has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Parameters have changed: what uses actions is to be compiled again.
    Changed,
    /// Show these as `ls` does.
    List(Vec<ActionRow>),
    /// Show these as `get` does.
    Get(Vec<ActionRow>),
    /// Nothing.
    Nothing,
}

impl ActionTable {
    /// Carries out a command.
    ///
    /// # Errors
    /// What tc writes where the kernel refuses.
    pub fn apply(&mut self, command: &ActionCommand, now: Instant) -> Result<Outcome, TcError> {
        match command {
            ActionCommand::Help => Ok(Outcome::Nothing),
            ActionCommand::Modify(replace, requests) => {
                for request in requests {
                    self.modify(request, *replace, now).map_err(|err| TcError { exit: 255, ..err })?;
                }
                Ok(Outcome::Changed)
            }
            ActionCommand::Get(which) => {
                let found = self.found(which)?;
                Ok(Outcome::Get(found.iter().filter_map(|key| self.row(*key, now)).collect()))
            }
            ActionCommand::Delete(which) => {
                let found = self.found(which)?;
                if found.iter().any(|key| self.instances.get(key).is_some_and(|i| i.binds > 0)) {
                    return Err(unknown_action(TcError::filter_refused("Failed to delete TC action")));
                }
                found.iter().for_each(|key| self.remove(*key));
                Ok(Outcome::Nothing)
            }
            ActionCommand::Show(kind) => {
                let keys: Vec<ActionRef> =
                    self.instances.keys().filter(|key| key.0 == kind).copied().collect();
                Ok(Outcome::List(keys.into_iter().filter_map(|key| self.row(key, now)).collect()))
            }
            ActionCommand::Flush(kind) => {
                if self.instances.iter().any(|(key, i)| key.0 == kind && i.binds > 0) {
                    let text = "RTNETLINK answers: Operation not permitted\nWe have an error flushing";
                    return Err(TcError::words(text));
                }
                self.instances.retain(|key, _| key.0 != kind);
                self.taken_below.clear();
                Ok(Outcome::Nothing)
            }
        }
    }

    fn remove(&mut self, key: ActionRef) {
        self.instances.remove(&key);
        self.taken_below.entry(key.0).and_modify(|below| *below = (*below).min(key.1).max(1));
    }

    fn found(&self, which: &[(String, u32)]) -> Result<Vec<ActionRef>, TcError> {
        let find = |(kind, index): &(String, u32)| {
            let key = self.instances.keys().find(|key| key.0 == kind && key.1 == *index).copied();
            key.ok_or_else(|| {
                unknown_action(TcError::filter_refused("TC action with specified index not found"))
            })
        };
        which.iter().map(find).collect()
    }

    fn modify(&mut self, request: &ActionRequest, replace: bool, now: Instant) -> Result<(), TcError> {
        let kind = request.spec.kind.name();
        match self.instances.get_mut(&(kind, request.index)) {
            Some(_) if !replace => Err(TcError::filter_errno(Errno::Exists)),
            Some(instance) => {
                instance.action = Arc::new(instance.action.changed(request.spec.clone()));
                Ok(())
            }
            None => {
                self.create(request, true, now)?;
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        request: &ActionRequest,
        standalone: bool,
        now: Instant,
    ) -> Result<ActionRef, TcError> {
        let kind = request.spec.kind.name();
        if request.bare
            && let Some(err) = missing(&request.spec.kind)
        {
            return Err(err);
        }
        let index = match request.index {
            0 => {
                let first = self.taken_below.get(kind).copied().unwrap_or(1);
                let free = (first..).find(|index| !self.instances.contains_key(&(kind, *index)));
                let free = free.unwrap_or(1);
                self.taken_below.insert(kind, free);
                free
            }
            index => index,
        };
        let action = Arc::new(Action::new(request.spec.clone(), index, now));
        self.instances.insert((kind, index), Instance { action, binds: 0, standalone });
        Ok((kind, index))
    }

    /// Uses actions for a filter: those that exist by their number, new ones otherwise.
    ///
    /// # Errors
    /// What the kernel refuses; nothing has changed then.
    pub fn bind(&mut self, requests: &[ActionRequest], now: Instant) -> Result<Vec<ActionRef>, TcError> {
        let mut bound = Vec::new();
        for request in requests {
            let key = (request.spec.kind.name(), request.index);
            let key = match request.index != 0 && self.instances.contains_key(&key) {
                true => Ok(key),
                false => self.create(request, false, now),
            };
            match key {
                Ok(key) => {
                    self.instances.entry(key).and_modify(|instance| instance.binds += 1);
                    bound.push(key);
                }
                Err(err) => {
                    self.unbind(&bound);
                    return Err(err);
                }
            }
        }
        Ok(bound)
    }

    /// A filter uses these no more.
    pub fn unbind(&mut self, actions: &[ActionRef]) {
        for key in actions {
            let Some(instance) = self.instances.get_mut(key) else { continue };
            instance.binds = instance.binds.saturating_sub(1);
            if instance.binds == 0 && !instance.standalone {
                self.remove(*key);
            }
        }
    }

    /// The actions of a filter, for its program.
    pub fn actions(&self, keys: &[ActionRef]) -> Vec<Arc<Action>> {
        keys.iter().filter_map(|key| self.instances.get(key)).map(|i| Arc::clone(&i.action)).collect()
    }

    /// The actions of a filter, for a show.
    pub fn rows(&self, keys: &[ActionRef], now: Instant) -> Vec<ActionRow> {
        keys.iter().filter_map(|key| self.row(*key, now)).collect()
    }

    fn row(&self, key: ActionRef, now: Instant) -> Option<ActionRow> {
        let Instance { action, binds, standalone } = self.instances.get(&key)?;
        Some(ActionRow {
            spec: action.spec.clone(),
            index: action.index,
            refs: binds + u32::from(*standalone),
            binds: *binds,
            standalone: *standalone,
            counts: action.cells.counts(),
            now: now.as_nanos(),
        })
    }
}

/// What the kernel says about a number without parameters that nothing has.
fn missing(kind: &ActionKind) -> Option<TcError> {
    match kind {
        // These need no parameters.
        ActionKind::Gact(_) | ActionKind::Police(_) => None,
        ActionKind::Mirred(_) => Some(TcError::filter_refused("act_mirred: Unknown mirred option")),
        _ => Some(TcError::filter_errno(Errno::Invalid)),
    }
}

/// tc reads on after a refusal, and does not understand what it finds.
fn unknown_action(err: TcError) -> TcError {
    TcError { exit: 255, ..err.then("Command \"action\" is unknown, try \"tc actions help\".") }
}
