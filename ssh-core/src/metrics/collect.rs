//! A contour that follows a session.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::SessionMetrics;
use super::contour::{ContourUpdate, SessionContour};
use crate::session::Session;

/// Collects a session's [`SessionContour`] until the session ends or this is stopped or dropped. It looks four times a
/// second, which the shortest interval of a second does not notice; round trips in between count as their average.
#[derive(Debug)]
pub struct ContourCollector {
    contour: Arc<Mutex<SessionContour>>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

const LOOK: Duration = Duration::from_millis(250);

impl ContourCollector {
    /// Starts to add to `contour` what goes through `session` from now on. It needs a tokio runtime.
    #[must_use = "dropping it stops the collecting"]
    pub fn start(session: &Session, contour: SessionContour) -> Self {
        let contour = Arc::new(Mutex::new(contour));
        let shared = Arc::clone(session.shared());
        let sink = Arc::clone(&contour);
        let mut seen: SessionMetrics = shared.with(|engine| engine.metrics());
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let started = crate::driver::now();
            loop {
                let ended = tokio::select! {
                    _ = shared.ended() => true,
                    () = stopped.notified() => true,
                    () = tokio::time::sleep(LOOK) => false,
                };
                let metrics = shared.with(|engine| engine.metrics());
                let elapsed = crate::driver::now().saturating_duration_since(started).as_millis();
                sink.lock().add(ContourUpdate {
                    time_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
                    bytes_sent: metrics.bytes_sent.saturating_sub(seen.bytes_sent),
                    bytes_received: metrics.bytes_received.saturating_sub(seen.bytes_received),
                    latency_ms: new_latency_ms(&metrics, &seen),
                });
                seen = metrics;
                if ended {
                    return;
                }
            }
        });
        Self { contour, stop, task }
    }

    /// What has been collected so far.
    #[must_use]
    pub fn contour(&self) -> SessionContour {
        self.contour.lock().clone()
    }

    /// Stops, and gives what has been collected until now.
    pub async fn stop(mut self) -> SessionContour {
        self.stop.notify_one();
        // It adds what came since it last looked, unless it had ended with the session.
        let _ = (&mut self.task).await;
        self.contour()
    }
}

/// The average of what was measured since `seen`; 0, which a contour leaves out, if nothing was.
fn new_latency_ms(metrics: &SessionMetrics, seen: &SessionMetrics) -> f64 {
    let Some(latency) = metrics.latency else { return 0.0 };
    let before = seen.latency.unwrap_or_default();
    latency.average_since(&before).as_secs_f64() * 1000.0
}

impl Drop for ContourCollector {
    fn drop(&mut self) {
        self.task.abort();
    }
}
