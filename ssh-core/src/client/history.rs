use super::Credential;

/// What was tried so far, and what the configuration's list still has.
#[derive(Debug)]
pub(super) struct History<'a> {
    list: &'a [Credential],
    /// Which of the list are used up.
    spent: Vec<bool>,
    /// The blobs of keys that need not be tried: those that were a part of the success, and those that were refused
    /// since the last one.
    good_keys: Vec<Vec<u8>>,
    refused_keys: Vec<Vec<u8>>,
    pub(super) allowed: Vec<String>,
    pub(super) partial_successes: Vec<&'static str>,
    pub(super) failed: Vec<&'static str>,
    pub(super) tried: Vec<&'static str>,
}

impl<'a> History<'a> {
    pub(super) fn new(list: &'a [Credential]) -> Self {
        Self {
            list,
            spent: vec![false; list.len()],
            good_keys: Vec::new(),
            refused_keys: Vec::new(),
            allowed: Vec::new(),
            partial_successes: Vec::new(),
            failed: Vec::new(),
            tried: Vec::new(),
        }
    }

    pub(super) fn is_allowed(&self, method: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == method)
    }

    /// Takes it that the server allows whatever is configured, as long as it has not said. Whether there is anything.
    pub(super) fn allow_all(&mut self) -> bool {
        self.allowed = self.list.iter().map(|credential| credential.method().to_owned()).collect();
        !self.allowed.is_empty()
    }

    /// To be called when a Dev Tunnels peer has refused something: adds what its list may have kept back.
    ///
    /// The TypeScript server answers a method that is switched off, as `none` may be, with the same three names
    /// whatever it takes. It does not count such attempts, so trying costs nothing.
    pub(super) fn mistrust_list(&mut self) {
        const FIXED: [&str; 3] = ["publickey", "password", "hostbased"];
        if self.allowed == FIXED {
            self.allowed.push("keyboard-interactive".to_owned());
        }
    }

    /// The first of the list that the server takes and that is not used up.
    pub(super) fn next_of_list(&mut self) -> Option<Credential> {
        let open = |(credential, spent): &(&Credential, &mut bool)| {
            !**spent && self.allowed.iter().any(|allowed| allowed == credential.method())
        };
        let (credential, spent) = self.list.iter().zip(&mut self.spent).find(open)?;
        *spent = true;
        Some(credential.clone())
    }

    /// Whether a key is worth an attempt.
    pub(super) fn is_fresh(&self, key: &[u8]) -> bool {
        !self.good_keys.iter().chain(&self.refused_keys).any(|known| known == key)
    }

    /// An attempt was refused. `key` is the one that it was made with.
    pub(super) fn refused(&mut self, method: &'static str, key: Option<&[u8]>, allowed: Vec<String>) {
        self.failed.push(method);
        self.refused_keys.extend(key.map(<[u8]>::to_vec));
        self.allowed = allowed;
    }

    /// An attempt was a part of what is needed (RFC 4252 §5.1). What the server did not want of the other keys may be
    /// what it asks for now; a password or an answer that was refused stays wrong.
    pub(super) fn partial(&mut self, method: &'static str, key: Option<&[u8]>, allowed: Vec<String>) {
        self.partial_successes.push(method);
        self.good_keys.extend(key.map(<[u8]>::to_vec));
        self.refused_keys.clear();
        self.allowed = allowed;
        for (credential, spent) in self.list.iter().zip(&mut self.spent) {
            *spent &= credential.method() != "publickey";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_gives_the_first_that_is_allowed_and_open() {
        let list = [Credential::password("one"), Credential::password("two")];
        let mut history = History::new(&list);
        assert!(history.next_of_list().is_none(), "nothing is allowed yet");
        history.refused("none", None, vec!["publickey".into()]);
        assert!(history.next_of_list().is_none());
        history.refused("publickey", Some(b"a"), vec!["publickey".into(), "password".into()]);
        let given = |history: &mut History<'_>| match history.next_of_list() {
            Some(Credential::Password(password)) => password.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(given(&mut history), "one");
        assert_eq!(given(&mut history), "two");
        assert!(history.next_of_list().is_none());
        // A partial success opens keys again, but no password.
        history.partial("publickey", Some(b"b"), vec!["password".into()]);
        assert!(history.next_of_list().is_none());
    }

    #[test]
    fn a_key_is_tried_once_a_step_and_never_again_after_its_success() {
        let mut history = History::new(&[]);
        history.refused("publickey", Some(b"a"), vec![]);
        assert!(!history.is_fresh(b"a") && history.is_fresh(b"b"));
        history.partial("publickey", Some(b"b"), vec![]);
        assert!(history.is_fresh(b"a") && !history.is_fresh(b"b"));
        history.partial("publickey", Some(b"a"), vec![]);
        assert!(!history.is_fresh(b"a") && !history.is_fresh(b"b"));
        assert_eq!(history.partial_successes, ["publickey", "publickey"]);
        assert_eq!(history.failed, ["publickey"]);
    }
}
