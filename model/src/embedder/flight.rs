//! Single flight: a text that somebody already waits for is not encoded a second time.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use tokio::sync::watch;

use crate::Result;
use crate::vector_store::Vector;

type Outcome = Option<Result<Vector>>;

/// Texts in flight.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Arc<str>, watch::Sender<Outcome>>>>);

/// The duty to bring a text home. Dropped without [`Claim::land`], it gives the text up: waiters claim it anew.
pub(super) struct Claim {
    text: Arc<str>,
    sender: watch::Sender<Outcome>,
    flights: Flights,
    in_flight: bool,
    /// Whether what comes home goes to the store, too.
    pub(super) is_stored: bool,
}

/// Waits for a text.
pub(super) struct Landing(watch::Receiver<Outcome>);

impl Flights {
    /// Joins each text in flight, or claims it. Claims are for the texts that nobody is on; landings are one a text. What
    /// landed since the cache was asked is there now: `cached` is asked once more before a text is claimed.
    pub(super) fn board(
        &self,
        texts: impl Iterator<Item = Arc<str>>,
        cached: impl Fn(&Arc<str>) -> Option<Vector>,
    ) -> (Vec<Claim>, Vec<Landing>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut claims = Vec::new();
        let landings = texts
            .map(|text| match flights.entry(text) {
                Entry::Occupied(flight) => Landing(flight.get().subscribe()),
                Entry::Vacant(free) => match cached(free.key()) {
                    Some(vector) => Landing(watch::Sender::new(Some(Ok(vector))).subscribe()),
                    None => {
                        let (text, sender) = (free.key().clone(), watch::Sender::new(None));
                        let (sender, flights) = (sender.clone(), self.clone());
                        claims.push(Claim { text, sender: sender.clone(), flights, in_flight: true, is_stored: true });
                        Landing(free.insert(sender).subscribe())
                    }
                },
            })
            .collect();
        (claims, landings)
    }
}

impl Claim {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn shared_text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.sender.receiver_count() == 0
    }

    /// Tells every waiter. The text leaves the flights first: who asks after an outcome is known must not join the
    /// flight that had it, or an error would be answered again.
    pub(super) fn land(mut self, outcome: Result<Vector>) {
        self.leave();
        self.sender.send_replace(Some(outcome));
    }

    /// Once only: afterwards the text may be another claim's.
    fn leave(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.text);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Landing {
    /// The vector; `None` when the claim was given up.
    pub(super) async fn vector(&mut self) -> Option<Result<Vector>> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        }
    }
}
