//! The ports that a host offers: those of the command line, and those of a file as it is now.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::args::NamedPort;
use crate::commands::watched::Watched;
use crate::error::{CliError, Code};

/// The ports, and where they come from.
pub(super) struct Offer {
    of_command_line: Vec<NamedPort>,
    file: Option<Arc<Watched<Vec<NamedPort>>>>,
    now: Vec<NamedPort>,
    /// What the file has said the last time, if that is not what counts.
    news: Option<News>,
    /// A file that cannot be used is complained of once.
    has_complained: bool,
}

/// What a file says.
#[derive(Debug, PartialEq)]
enum News {
    Ports(Vec<NamedPort>),
    Broken,
}

/// A file is looked at this often. What it says counts once it has said so twice, or a file that is being written would take
/// ports away for a moment, or offer `30` on its way to `3000`.
const LOOK: Duration = Duration::from_millis(500);
/// A file is not longer, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Ports at once. A relay may let a tunnel have fewer.
const MOST: usize = 64;

impl Offer {
    /// # Errors
    /// The file cannot be used, or a port is named twice in one place.
    pub(super) fn load(of_command_line: &[NamedPort], file: Option<&Path>) -> Result<Self, CliError> {
        if let Some(port) = twice(of_command_line) {
            return Err(CliError::usage(format!("the port {port} is named twice; name each once")));
        }
        let file = file.map(|path| Watched::load(path, read).map(Arc::new)).transpose()?;
        let of_file = file.as_ref().and_then(|file| file.current(|_| ()));
        let now = together(of_command_line, of_file.as_deref().map_or(&[], Vec::as_slice))?;
        let of_command_line = of_command_line.to_vec();
        Ok(Self { of_command_line, file, now, news: None, has_complained: false })
    }

    /// What counts now.
    pub(super) fn now(&self) -> &[NamedPort] {
        &self.now
    }

    /// Waits for the file to say something else: the ports that count from now on, which [`now`](Self::now) gives too, or why
    /// those that counted before still do.
    ///
    /// # Cancel safety
    /// Nothing is missed.
    pub(super) async fn changed(&mut self) -> Result<(), CliError> {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK).await;
            let file = Arc::clone(&file);
            // A file system may hang, and connections must not hang with it.
            let looked = tokio::task::spawn_blocking(move || {
                let found = file.current(|_| ());
                let why = found.is_none().then(|| read(file.path()).err()).flatten();
                (found, why)
            });
            let Ok((found, why)) = looked.await else { continue };
            let said =
                found.ok_or(why).and_then(|of_file| together(&self.of_command_line, &of_file).map_err(Some));
            if let Some(change) = self.hear(said) {
                return change;
            }
        }
    }

    fn hear(&mut self, said: Result<Vec<NamedPort>, Option<CliError>>) -> Option<Result<(), CliError>> {
        let (news, error) = match said {
            Ok(ports) => (News::Ports(ports), None),
            Err(error) => (News::Broken, error),
        };
        let is_certain = self.news.as_ref() == Some(&news);
        match news {
            News::Ports(ports) if ports == self.now => {
                (self.news, self.has_complained) = (None, false);
                None
            }
            News::Ports(ports) if is_certain => {
                (self.now, self.news, self.has_complained) = (ports, None, false);
                Some(Ok(()))
            }
            News::Broken if is_certain => {
                let error = error.filter(|_| !self.has_complained)?;
                self.has_complained = true;
                Some(Err(error))
            }
            news => {
                self.news = Some(news);
                None
            }
        }
    }
}

/// A port of the command line stays what it is there.
fn together(of_command_line: &[NamedPort], of_file: &[NamedPort]) -> Result<Vec<NamedPort>, CliError> {
    let mut all = of_command_line.to_vec();
    let others = of_file.iter().filter(|port| !of_command_line.iter().any(|known| known.port == port.port));
    all.extend(others.cloned());
    all.sort_by_key(|port| port.port);
    if all.len() > MOST {
        let count = all.len();
        return Err(CliError::new(
            Code::File,
            format!("{count} ports are too many; a host offers up to {MOST}"),
        ));
    }
    Ok(all)
}

/// The whole file, or nothing of it.
fn read(path: &Path) -> Result<Vec<NamedPort>, CliError> {
    let shown = path.display();
    let cannot = |why: String| CliError::new(Code::File, format!("cannot use the ports of {shown}: {why}"));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(MAX_FILE.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(cannot(format!("it has more than {MAX_FILE} bytes")));
    }
    let mut ports: Vec<NamedPort> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let of_line = |why: &str| cannot(format!("line {number}: {why}"));
        let port: NamedPort = line.parse().map_err(|why: String| of_line(&why))?;
        if ports.iter().any(|known| known.port == port.port) {
            return Err(of_line(&format!("the port {} is named twice", port.port)));
        }
        ports.push(port);
    }
    Ok(ports)
}

/// The first number that stands there twice.
fn twice(ports: &[NamedPort]) -> Option<u16> {
    let mut seen = std::collections::BTreeSet::new();
    ports.iter().map(|port| port.port).find(|port| !seen.insert(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(ports: &[NamedPort]) -> Vec<u16> {
        ports.iter().map(|port| port.port).collect()
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            super::read(&path).map_err(|error| error.message)
        };
        let all = read("# two\n\n 3000 \r\nweb=8080 # the site\n").unwrap();
        assert_eq!(numbers(&all), [3000, 8080]);
        assert_eq!((all[0].name.as_deref(), all[1].name.as_deref()), (None, Some("web")));
        assert_eq!(read("# nothing now\n").unwrap(), []);
        for (text, why) in [
            ("3000\nx\n", "line 2"),
            ("0\n", "line 1"),
            ("65536\n", "line 1"),
            ("3000 4000\n", "line 1"),
            ("\n3000\nweb=3000\n", "line 3: the port 3000 is named twice"),
            ("=3000\n", "a name has 1 to 60"),
            (&"#".repeat(70_000), "more than 65536 bytes"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why) && error.contains("ports"), "{text:?}: {error}");
        }
        std::fs::write(&path, b"3000\n\xff\n").unwrap();
        assert!(super::read(&path).is_err());
        assert!(super::read(folder.path()).is_err());
    }

    #[test]
    fn the_command_line_stays_and_there_is_a_most() {
        let named = |text: &str| text.parse::<NamedPort>().unwrap();
        let fixed = [named("db=5432"), named("3000")];
        let all = together(&fixed, &[named("web=3000"), named("80")]).unwrap();
        assert_eq!(numbers(&all), [80, 3000, 5432]);
        assert_eq!(all[1].name, None, "the command line says what it is");
        let many: Vec<NamedPort> = (1..=64).map(|port| named(&port.to_string())).collect();
        assert_eq!(together(&[], &many).unwrap().len(), 64);
        assert!(together(&fixed, &many).unwrap_err().message.contains("up to 64"));
        assert!(Offer::load(&[named("3000"), named("web=3000")], None).is_err());
    }

    #[test]
    fn what_a_file_says_counts_when_it_says_so_twice() {
        let named = |text: &str| vec![text.parse::<NamedPort>().unwrap()];
        let broken = || Err(Some(CliError::new(Code::File, "broken")));
        let mut offer = Offer::load(&named("3000"), None).unwrap();
        let mut hear = |said| {
            let heard = offer.hear(said).map(|change| change.is_ok());
            (heard, numbers(offer.now())[0])
        };
        assert_eq!(hear(Ok(named("30"))), (None, 3000));
        assert_eq!(hear(Ok(named("3000"))), (None, 3000), "it was being written");
        assert_eq!(hear(Ok(named("30"))), (None, 3000));
        assert_eq!(hear(Ok(named("30"))), (Some(true), 30));
        assert_eq!(hear(Ok(named("30"))), (None, 30));
        assert_eq!(hear(broken()), (None, 30));
        assert_eq!(hear(broken()), (Some(false), 30));
        assert_eq!(hear(broken()), (None, 30), "it is said once");
        assert_eq!(
            (hear(Ok(named("30"))), hear(broken()), hear(broken())),
            ((None, 30), (None, 30), (Some(false), 30))
        );
        assert_eq!((hear(Ok(named("40"))), hear(Ok(named("40")))), ((None, 30), (Some(true), 40)));
    }
}
