//! The guest's users and groups: the text files of passwd(5), shadow(5) and group(5).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::manifest::User;

/// The account files of a guest.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    pub passwd: String,
    pub shadow: String,
    pub group: String,
}

/// The day of the last change in shadow(5), the same in every image.
const CHANGED: &str = "19676";

impl Accounts {
    /// Adds users and sets passwords.
    pub fn apply(&mut self, users: &BTreeMap<String, User>) -> Result<()> {
        for (name, user) in users {
            match user.uid {
                Some(uid) if self.id(name).is_none() => self.add(name, uid, user)?,
                _ => {
                    self.id(name).with_context(|| format!("users.{name}: give a uid"))?;
                }
            }
            self.shadow = edit(&self.shadow, name, |fields| fields[1] = user.password.clone());
        }
        let lines = self.shadow.lines().map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if let Some(changed) = fields.get_mut(2).filter(|field| !field.is_empty()) {
                *changed = CHANGED;
            }
            fields.join(":") + "\n"
        });
        self.shadow = lines.collect();
        Ok(())
    }

    fn add(&mut self, name: &str, uid: u32, user: &User) -> Result<()> {
        for (of, text) in [("user", &self.passwd), ("group", &self.group)] {
            let taken = text.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
            let whose = taken.and_then(|line| line.split(':').next()).unwrap_or_default();
            ensure!(taken.is_none(), "users.{name}: {uid} is the number of the {of} {whose}");
        }
        self.passwd += &format!("{name}:x:{uid}:{uid}::/home/{name}:{}\n", user.shell);
        self.group += &format!("{name}:x:{uid}:\n");
        self.shadow += &format!("{name}:*:{CHANGED}:0:99999:7:::\n");
        for group in &user.groups {
            self.group_id(group).with_context(|| format!("users.{name}: no group `{group}`"))?;
            self.group = edit(&self.group, group, |fields| {
                let comma = if fields[3].is_empty() { "" } else { "," };
                fields[3] = format!("{}{comma}{name}", fields[3]);
            });
        }
        Ok(())
    }

    /// The number of a user.
    pub fn id(&self, name: &str) -> Option<u32> {
        number(&self.passwd, name)
    }

    /// The number of a group.
    pub fn group_id(&self, name: &str) -> Option<u32> {
        number(&self.group, name)
    }
}

/// The third field of the line that `name` begins.
fn number(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn edit(text: &str, name: &str, change: impl Fn(&mut Vec<String>)) -> String {
    let edited = |line: &str| {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if fields[0] == name && fields.len() > 3 {
            change(&mut fields);
        }
        fields.join(":") + "\n"
    };
    text.lines().map(edited).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\n".into(),
            shadow: "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n".into(),
            group: "root:x:0:\ndisk:x:6:other\ntty:x:5:\n".into(),
        }
    }

    fn user(uid: Option<u32>, groups: &[&str]) -> User {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        User { password: "$6$salt$hash".into(), uid, groups, shell: "/bin/sh".into() }
    }

    #[test]
    fn a_user_is_added_and_passwords_are_set() {
        let mut accounts = debian();
        let users = [
            ("root".to_owned(), user(None, &[])),
            ("uml".to_owned(), user(Some(1000), &["disk", "tty"])),
        ];
        accounts.apply(&users.into()).unwrap();
        assert!(accounts.shadow.starts_with("root:$6$salt$hash:19676:0"), "{}", accounts.shadow);
        assert!(accounts.shadow.contains("\numl:$6$salt$hash:19676:0:99999:7:::\n"));
        assert!(accounts.shadow.contains("\ndaemon:*:19676:"));
        assert!(accounts.passwd.ends_with("uml:x:1000:1000::/home/uml:/bin/sh\n"));
        assert!(accounts.group.contains("disk:x:6:other,uml\ntty:x:5:uml\n"));
        assert_eq!((accounts.id("uml"), accounts.group_id("disk")), (Some(1000), Some(6)));
    }

    #[test]
    fn an_unknown_group_or_a_number_that_is_taken_is_refused() {
        let error = |user: User| {
            format!("{:#}", debian().apply(&[("new".to_owned(), user)].into()).unwrap_err())
        };
        assert!(error(user(None, &[])).contains("users.new: give a uid"));
        assert!(error(user(Some(7), &["wheel"])).contains("no group `wheel`"));
        assert!(error(user(Some(0), &[])).contains("users.new: 0 is the number of the user root"));
        assert!(error(user(Some(6), &[])).contains("6 is the number of the group disk"));
    }
}
