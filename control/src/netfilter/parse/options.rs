//! Options of one match or target: which there are, and which were given. An extension is a table of options and a
//! function that makes its value of those given, so that every one refuses repetitions, wrong negations and unknown
//! words the same way.

use crate::config::Fault;

/// An option of an extension.
#[derive(Debug)]
pub(super) struct Spec {
    /// Its names, without the dashes; the first is the one [`Given::get`] knows it by and errors name.
    pub names: &'static [&'static str],
    /// How many words follow it.
    pub args: u8,
    /// Whether `!` may stand before it.
    pub invert: bool,
}

/// An option that takes no word and no `!`.
pub(super) const fn flag(names: &'static [&'static str]) -> Spec {
    Spec { names, args: 0, invert: false }
}

/// An option that takes one word.
pub(super) const fn value(names: &'static [&'static str]) -> Spec {
    Spec { names, args: 1, invert: false }
}

/// An option that takes one word and may be negated.
pub(super) const fn negatable(names: &'static [&'static str]) -> Spec {
    Spec { names, args: 1, invert: true }
}

/// One option as given.
#[derive(Clone, Debug)]
pub(super) struct Opt {
    /// Its first name.
    pub name: &'static str,
    /// `!` stood before it.
    pub invert: bool,
    /// The words after it.
    pub args: Vec<String>,
}

impl Opt {
    /// Its first word; every option that is asked for it has one.
    pub fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }
}

/// The options given to one extension.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// As in `match "tcp"`.
    pub what: String,
    /// In the order given.
    pub options: Vec<Opt>,
}

impl Given {
    /// Takes one more.
    ///
    /// # Errors
    /// It was given before, or must not be negated.
    pub fn add(&mut self, spec: &Spec, invert: bool, args: Vec<String>) -> Result<(), Fault> {
        let name = spec.names[0];
        if invert && !spec.invert {
            return Err(format!("option \"--{name}\" of {} cannot be negated", self.what).into());
        }
        if self.get(name).is_some() {
            return Err(format!("option \"--{name}\" of {} is given twice", self.what).into());
        }
        self.options.push(Opt { name, invert, args });
        Ok(())
    }

    /// The option of that name, if it was given.
    pub fn get(&self, name: &str) -> Option<&Opt> {
        self.options.iter().find(|option| option.name == name)
    }

    /// True if the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The option of that name.
    ///
    /// # Errors
    /// It was not given.
    pub fn require(&self, name: &str) -> Result<&Opt, Fault> {
        self.get(name).ok_or_else(|| format!("{} needs --{name}", self.what).into())
    }

    /// The one option of `names` that was given.
    ///
    /// # Errors
    /// Two were given.
    pub fn one_of(&self, names: &[&str]) -> Result<Option<&Opt>, Fault> {
        let mut found = self.options.iter().filter(|option| names.contains(&option.name));
        let first = found.next();
        if let (Some(first), Some(second)) = (first, found.next()) {
            let (one, other) = (first.name, second.name);
            return Err(
                format!("options \"--{one}\" and \"--{other}\" of {} exclude each other", self.what).into()
            );
        }
        Ok(first)
    }

    /// The same where one must be given.
    ///
    /// # Errors
    /// None or two were given.
    pub fn exactly_one_of(&self, names: &[&str]) -> Result<&Opt, Fault> {
        self.one_of(names)?.ok_or_else(|| {
            let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
            format!("{} needs one of {}", self.what, names.join(", ")).into()
        })
    }
}
