//! The statements of Kconfig files.

use std::collections::BTreeMap;

use super::{Definition, Expr};

type Symbols = BTreeMap<String, Vec<Definition>>;

/// Reads `first` and all that it includes.
pub(super) fn files(first: &str, read: &impl Fn(&str) -> Option<String>) -> Symbols {
    let mut parser = Parser {
        read,
        symbols: BTreeMap::new(),
        open: Vec::new(),
        blocks: Vec::new(),
        entry: ConfigEntry::Other,
    };
    parser.file(first);
    parser.symbols
}

struct Parser<'a, R> {
    read: &'a R,
    symbols: Symbols,
    /// The files that are being read: none may include itself.
    open: Vec<String>,
    blocks: Vec<Block>,
    entry: ConfigEntry,
}

/// `if`, `menu` or `choice`: holds for all that is in it.
struct Block {
    depends: Expr,
    /// The place, where it is a choice.
    choice: Option<String>,
}

/// What attributes belong to.
enum ConfigEntry {
    /// The last definition of a symbol.
    Symbol(String),
    /// The innermost block.
    Block,
    /// Nothing that matters here, such as a comment.
    Other,
}

impl<R: Fn(&str) -> Option<String>> Parser<'_, R> {
    fn file(&mut self, name: &str) {
        if self.open.iter().any(|open| open == name) {
            return;
        }
        let Some(text) = (self.read)(name) else { return };
        self.open.push(name.to_owned());
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let mut statement = line.trim_end().to_owned();
            while statement.ends_with('\\') {
                statement.pop();
                statement += lines.next().map_or("", |(_, line)| line.trim_end());
            }
            let (keyword, rest) = split_word(statement.trim());
            match keyword {
                "source" | "osource" => self.file(&included(rest)),
                "help" | "---help---" => {
                    // Help goes on for as long as lines are indented like its first one.
                    let mut least = None;
                    while let Some((_, line)) = lines.peek() {
                        if !line.trim().is_empty() {
                            let indent = indentation(line);
                            if indent == 0 || indent < *least.get_or_insert(indent) {
                                break;
                            }
                        }
                        lines.next();
                    }
                }
                _ => self.statement(keyword, rest, || format!("{name}:{}", index + 1)),
            }
        }
        self.open.pop();
    }

    fn statement(&mut self, keyword: &str, rest: &str, place: impl Fn() -> String) {
        match keyword {
            "config" | "menuconfig" => self.define(rest, place()),
            "menu" => self.open(Expr::always(), None),
            "choice" => self.open(Expr::always(), Some(place())),
            "if" => self.open(Expr::parse(uncommented(rest)), None),
            "endmenu" | "endchoice" | "endif" => {
                self.blocks.pop();
                self.entry = ConfigEntry::Other;
            }
            "comment" | "mainmenu" => self.entry = ConfigEntry::Other,
            "depends" => {
                let (_, condition) = split_word(rest);
                let condition = Expr::parse(uncommented(condition));
                if let Some(depends) = self.depends() {
                    *depends = std::mem::replace(depends, Expr::always()).and(condition);
                }
            }
            "bool" | "boolean" | "tristate" | "string" | "int" | "hex" | "prompt" => {
                let Some((text, condition)) = prompt(rest) else { return };
                if let Some(definition) = self.definition().filter(|_| !text.is_empty()) {
                    definition.prompt = Some(condition);
                }
            }
            "select" => {
                let (target, condition) = split_word(rest);
                let select = (target.to_owned(), after_if(condition));
                if let Some(definition) = self.definition() {
                    definition.selects.push(select);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, depends: Expr, choice: Option<String>) {
        self.blocks.push(Block { depends, choice });
        self.entry = ConfigEntry::Block;
    }

    fn define(&mut self, name: &str, place: String) {
        let name = uncommented(name).trim().to_owned();
        let outer = self.blocks.iter().map(|block| block.depends.clone());
        let definition = Definition {
            place,
            depends: outer.fold(Expr::always(), Expr::and),
            prompt: None,
            choice: self.blocks.iter().rev().find_map(|block| block.choice.clone()),
            selects: Vec::new(),
        };
        self.symbols.entry(name.clone()).or_default().push(definition);
        self.entry = ConfigEntry::Symbol(name);
    }

    fn definition(&mut self) -> Option<&mut Definition> {
        match &self.entry {
            ConfigEntry::Symbol(name) => self.symbols.get_mut(name)?.last_mut(),
            _ => None,
        }
    }

    fn depends(&mut self) -> Option<&mut Expr> {
        match &self.entry {
            ConfigEntry::Symbol(_) => self.definition().map(|definition| &mut definition.depends),
            ConfigEntry::Block => self.blocks.last_mut().map(|block| &mut block.depends),
            ConfigEntry::Other => None,
        }
    }
}

/// The first word of a line, which may end at a quote, and the rest.
fn split_word(line: &str) -> (&str, &str) {
    let end = line.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, rest.trim_start())
}

/// The file that a `source` statement names, for User Mode Linux.
fn included(rest: &str) -> String {
    let name = uncommented(rest).trim().trim_matches('"');
    let name = name.replace("$(SRCARCH)", "um").replace("$SRCARCH", "um");
    name.replace("$(HEADER_ARCH)", "x86").replace("$HEADER_ARCH", "x86").replace("$ARCH", "um")
}

/// The text of a prompt in quotes, and the condition behind it.
fn prompt(rest: &str) -> Option<(&str, Expr)> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let end = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })? + 1;
    Some((&rest[1..end], after_if(&rest[end + 1..])))
}

fn after_if(rest: &str) -> Expr {
    match split_word(uncommented(rest).trim()) {
        ("if", condition) => Expr::parse(condition),
        _ => Expr::always(),
    }
}

/// A line without its comment.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let comment = line.find(|c| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        quote.is_none() && c == '#'
    });
    &line[..comment.unwrap_or(line.len())]
}

fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).fold(0, |column, c| match c {
        '\t' => (column / 8 + 1) * 8,
        _ => column + 1,
    })
}
