//! Expressions of Kconfig: what a symbol depends on, and which part of it does not hold.

use std::fmt;

use crate::kernel::fragment::Values;

/// Kconfig's three states, in its order: `&&` is the lesser, `||` the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tristate {
    /// Off.
    No,
    /// A module.
    Module,
    /// Built in.
    Yes,
}

impl Tristate {
    /// The state that a value stands for; strings and numbers are no states, and so off.
    pub fn of(value: &str) -> Self {
        match value {
            "y" => Self::Yes,
            "m" => Self::Module,
            _ => Self::No,
        }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A symbol, or a constant without quotes.
    Symbol(String),
    /// A constant in quotes.
    Text(String),
    /// A question to the compiler or the shell; it is taken to be answered with yes.
    Macro(String),
    /// `!`
    Not(Box<Expr>),
    /// `&&`
    All(Vec<Expr>),
    /// `||`
    Any(Vec<Expr>),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`
    Compare(Box<Expr>, &'static str, Box<Expr>),
}

const COMPARISONS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

impl Expr {
    /// What always holds.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// Reads an expression. What is no expression counts as one that holds: this is for
    /// explanations, and Kconfig itself is the judge.
    pub fn parse(text: &str) -> Self {
        let mut tokens = Tokens { rest: text.trim(), depth: 0 };
        tokens.any().unwrap_or_else(|| Self::Macro(text.trim().into()))
    }

    /// This and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut terms = self.terms();
        terms.extend(other.terms());
        Self::All(terms)
    }

    fn terms(self) -> Vec<Self> {
        match self {
            Self::All(terms) => terms.into_iter().flat_map(Self::terms).collect(),
            other => vec![other],
        }
    }

    /// The state that the expression has under `values`.
    pub fn state(&self, values: &Values) -> Tristate {
        match self {
            Self::Symbol(name) => match name.as_str() {
                constant @ ("y" | "m" | "n") => Tristate::of(constant),
                name => Tristate::of(values.get(name)),
            },
            Self::Text(text) => Tristate::of(text),
            Self::Macro(_) => Tristate::Yes,
            Self::Not(inner) => match inner.state(values) {
                Tristate::No => Tristate::Yes,
                Tristate::Module => Tristate::Module,
                Tristate::Yes => Tristate::No,
            },
            Self::All(terms) => {
                terms.iter().map(|term| term.state(values)).min().unwrap_or(Tristate::Yes)
            }
            Self::Any(terms) => {
                terms.iter().map(|term| term.state(values)).max().unwrap_or(Tristate::No)
            }
            Self::Compare(left, how, right) => {
                match compare(&left.text(values), how, &right.text(values)) {
                    true => Tristate::Yes,
                    false => Tristate::No,
                }
            }
        }
    }

    fn text(&self, values: &Values) -> String {
        match self {
            Self::Symbol(name) if name.chars().all(|c| c.is_ascii_digit()) => name.clone(),
            Self::Symbol(name) if matches!(name.as_str(), "y" | "m" | "n") => name.clone(),
            Self::Symbol(name) => values.get(name).trim_matches('"').into(),
            Self::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The terms that hold less than `wanted`, each with what it needs said.
    pub fn missing(&self, values: &Values, wanted: Tristate) -> Vec<String> {
        let Self::All(terms) = self else {
            return match self.state(values) < wanted {
                true => vec![self.explain(values)],
                false => Vec::new(),
            };
        };
        let mut missing: Vec<String> =
            terms.iter().flat_map(|term| term.missing(values, wanted)).collect();
        missing.dedup();
        missing
    }

    fn explain(&self, values: &Values) -> String {
        if let Self::Symbol(name) = self {
            return format!("{name}, which is {}", values.get(name));
        }
        let mut names = Vec::new();
        self.symbols(&mut names);
        names.sort_unstable();
        names.dedup();
        let states: Vec<String> =
            names.iter().map(|name| format!("{name} is {}", values.get(name))).collect();
        format!("`{self}`, where {}", states.join(", "))
    }

    fn symbols<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Symbol(name) if !matches!(name.as_str(), "y" | "m" | "n") => names.push(name),
            Self::Symbol(_) | Self::Text(_) | Self::Macro(_) => {}
            Self::Not(inner) => inner.symbols(names),
            Self::All(terms) | Self::Any(terms) => {
                terms.iter().for_each(|term| term.symbols(names));
            }
            Self::Compare(left, _, right) => {
                left.symbols(names);
                right.symbols(names);
            }
        }
    }
}

fn compare(left: &str, how: &str, right: &str) -> bool {
    let order = match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        _ => left.cmp(right),
    };
    match how {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// As one would write it in a Kconfig file.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, terms: &[Self], with: &str| {
            terms.iter().enumerate().try_for_each(|(index, term)| {
                let with = if index == 0 { "" } else { with };
                match term {
                    Self::Any(_) | Self::All(_) => write!(f, "{with}({term})"),
                    _ => write!(f, "{with}{term}"),
                }
            })
        };
        match self {
            Self::Symbol(text) | Self::Macro(text) => f.write_str(text),
            Self::Text(text) if text.contains('"') => write!(f, "'{text}'"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Not(inner) => match **inner {
                Self::Symbol(_) | Self::Macro(_) => write!(f, "!{inner}"),
                _ => write!(f, "!({inner})"),
            },
            Self::All(terms) => joined(f, terms, " && "),
            Self::Any(terms) => joined(f, terms, " || "),
            Self::Compare(left, how, right) => write!(f, "{left} {how} {right}"),
        }
    }
}

/// The rest of an expression's text. Each part is `None` where the text is none.
struct Tokens<'a> {
    rest: &'a str,
    /// How many operands lie around the one that is read.
    depth: usize,
}

/// No tree nests operands deeper, and each level takes a piece of the stack.
const DEEPEST: usize = 100;

impl Tokens<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    fn any(&mut self) -> Option<Expr> {
        let mut terms = vec![self.all()?];
        while self.take("||") {
            terms.push(self.all()?);
        }
        if terms.len() == 1 { terms.pop() } else { Some(Expr::Any(terms)) }
    }

    fn all(&mut self) -> Option<Expr> {
        let mut terms = vec![self.comparison()?];
        while self.take("&&") {
            terms.push(self.comparison()?);
        }
        if terms.len() == 1 { terms.pop() } else { Some(Expr::All(terms)) }
    }

    fn comparison(&mut self) -> Option<Expr> {
        let left = self.primary()?;
        let Some(how) = COMPARISONS.into_iter().find(|how| self.take(how)) else {
            return Some(left);
        };
        Some(Expr::Compare(Box::new(left), how, Box::new(self.primary()?)))
    }

    fn primary(&mut self) -> Option<Expr> {
        self.depth += 1;
        let operand = (self.depth <= DEEPEST).then(|| self.operand()).flatten();
        self.depth -= 1;
        operand
    }

    fn operand(&mut self) -> Option<Expr> {
        // `!=` is never at a place where an operand begins.
        if self.take("!") {
            return Some(Expr::Not(Box::new(self.primary()?)));
        }
        if self.take("(") {
            let inner = self.any()?;
            return self.take(")").then_some(inner);
        }
        if self.rest.starts_with("$(") {
            return Some(Expr::Macro(self.split_at(macro_end(self.rest)?)));
        }
        let first = self.rest.chars().next()?;
        if matches!(first, '"' | '\'') {
            let end = self.rest[1..].find(first)? + 2;
            let quoted = self.split_at(end);
            return Some(Expr::Text(quoted.trim_matches(first).into()));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '$');
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        (end > 0).then(|| Expr::Symbol(self.split_at(end)))
    }

    fn split_at(&mut self, end: usize) -> String {
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        token.trim_end().into()
    }
}

/// Where the macro that `text` begins with ends.
fn macro_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 && c == ')' {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests;
