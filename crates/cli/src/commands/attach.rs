//! attach: opencode's own interface in this terminal; and the tokens for it.

use std::process::ExitStatus;

use api::{
    client::Client,
    wire::{AttachInfo, AttachToken, CreateAttachToken, NewAttachToken},
};
use jiff::Timestamp;
use session_key::SessionHash;
use tokio::process::Command;

use super::Context;
use crate::{
    args::{AttachArgs, AttachCommand},
    error::CliError,
    table,
    terminal::sanitize_line,
};

/// How many days a token is valid that is revoked at the end of the command anyway.
const DAYS_OF_ONE_RUN: u32 = 1;

impl Context {
    pub(super) async fn attach(&self, args: AttachArgs) -> Result<(), CliError> {
        let client = self.router("attach")?;
        match args.command {
            Some(AttachCommand::List { session }) => {
                let info = client.attach_info(self.pick(&session.name).await?).await?;
                self.list_tokens(&info)
            }
            Some(AttachCommand::Revoke { session, ids, all_tokens }) => {
                let hash = self.pick(&session.name).await?;
                self.revoke(client, hash, &ids, all_tokens).await
            }
            None => {
                // clap requires it.
                let hash = self.pick(args.session.as_deref().unwrap_or_default()).await?;
                let name = args.name.unwrap_or_else(default_name);
                let days = if args.print { args.days } else { args.days.or(Some(DAYS_OF_ONE_RUN)) };
                let request = CreateAttachToken { name: Some(name), expires_in_days: days };
                let token = client.create_attach_token(hash, &request).await?;
                let command = self.command(client, hash, &token).await?;
                if args.print {
                    self.terminal
                        .note("Whoever has this token can use the session. Revoke it when you are done:");
                    self.terminal.note(format_args!("  {} attach revoke {hash} {}", self.program, token.id));
                    return self.terminal.print(sanitize_line(&command.to_shell(&token.token)));
                }
                let ended = command.run(&args.opencode, &token.token, &args.arguments).await;
                // It served its purpose, also if opencode could not be started.
                let revoked = client.revoke_attach_token(hash, &token.id).await;
                let status = ended?;
                revoked?;
                match status.code() {
                    Some(0) => Ok(()),
                    Some(code) => {
                        Err(CliError::new(CliError::ERROR, format!("opencode ended with exit code {code}")))
                    }
                    None => Err(CliError::new(CliError::ERROR, "opencode was ended by a signal")),
                }
            }
        }
    }

    async fn command(
        &self,
        client: &Client,
        hash: SessionHash,
        token: &NewAttachToken,
    ) -> Result<OpencodeAttach, CliError> {
        let url = token.attach_url.clone();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(CliError::new(CliError::ERROR, "the attach address is not an http(s) address"));
        }
        // Programs do not resolve names below localhost everywhere, so the router itself is their proxy.
        let proxy = is_below_localhost(&url).then(|| client.address().origin().ascii_serialization());
        let conversation = client.attach_info(hash).await?.session_id;
        Ok(OpencodeAttach { url, conversation, proxy })
    }

    fn list_tokens(&self, info: &AttachInfo) -> Result<(), CliError> {
        let now = Timestamp::now();
        self.terminal.print_value(&info.tokens, || table::attach_tokens(&info.tokens, now))?;
        if info.original_password {
            self.terminal
                .note("The password of the earlier router is still accepted; the first token replaces it.");
        } else if info.tokens.is_empty() {
            self.terminal.note("The session has no attach tokens.");
        }
        Ok(())
    }

    async fn revoke(
        &self,
        client: &Client,
        hash: SessionHash,
        ids: &[String],
        all: bool,
    ) -> Result<(), CliError> {
        if all {
            client.revoke_attach_tokens(hash).await?;
            self.terminal.note(format_args!("All attach tokens of session {hash} are revoked."));
            return Ok(());
        }
        let tokens = client.attach_info(hash).await?.tokens;
        for given in ids {
            let token = find(&tokens, given)?;
            client.revoke_attach_token(hash, &token.id).await?;
            self.terminal.note(format_args!("Token {} is revoked.", token.id));
        }
        Ok(())
    }
}

/// Returns the token with this id or name.
fn find<'a>(tokens: &'a [AttachToken], given: &str) -> Result<&'a AttachToken, CliError> {
    let mut found = tokens.iter().filter(|token| token.id == given || token.name == given);
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token),
        (Some(_), Some(_)) => {
            let message = format!("several tokens are named {given:?}");
            Err(CliError::new(CliError::USAGE, message).hint("Name the token by its id."))
        }
        (None, _) => Err(CliError::new(CliError::NOT_FOUND, format!("the session has no token {given:?}"))),
    }
}

/// A call of `opencode attach`.
struct OpencodeAttach {
    url: String,
    /// The opencode session to continue; without it, the newest one.
    conversation: Option<String>,
    proxy: Option<String>,
}

impl OpencodeAttach {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["attach".to_owned(), self.url.clone()];
        match &self.conversation {
            Some(id) => arguments.extend(["--session".to_owned(), id.clone()]),
            None => arguments.push("--continue".to_owned()),
        }
        arguments
    }

    /// Runs opencode in this terminal. The token is in its environment, not on its command line, which all
    /// users of the machine can read.
    async fn run(&self, program: &str, token: &str, more: &[String]) -> Result<ExitStatus, CliError> {
        let mut command = Command::new(program);
        command.args(self.arguments()).args(more).env("OPENCODE_SERVER_PASSWORD", token);
        if let Some(proxy) = &self.proxy {
            command.env("HTTP_PROXY", proxy).env("http_proxy", proxy).env("NO_PROXY", "").env("no_proxy", "");
        }
        let mut child = command.spawn().map_err(|error| {
            CliError::new(CliError::ERROR, format!("opencode could not be started: {program}: {error}"))
                .hint("Install opencode, name its program with --opencode, or use --print.")
        })?;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                // It is opencode's to end: the token has to be revoked after it.
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }

    /// Returns the call as a line for a POSIX shell.
    fn to_shell(&self, token: &str) -> String {
        let proxy = self.proxy.iter().map(|proxy| format!("HTTP_PROXY={proxy} NO_PROXY= "));
        let arguments = self.arguments().join(" ");
        format!("{}opencode {arguments} --password {token}", proxy.collect::<String>())
    }
}

/// Returns a name that tells the owner where the token is used.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => "opencode-routerctl".to_owned(),
        host => format!("opencode-routerctl on {}", host.chars().take(30).collect::<String>()),
    }
}

fn is_below_localhost(url: &str) -> bool {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    authority.split(':').next().is_some_and(|host| host.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_a_shell_has_everything_that_opencode_needs() {
        let command = |url: &str, conversation: Option<&str>, proxy: Option<&str>| {
            let (conversation, proxy) = (conversation.map(Into::into), proxy.map(Into::into));
            OpencodeAttach { url: url.into(), conversation, proxy }.to_shell("ocattach_x")
        };
        assert_eq!(
            command("https://attach-1.example.org", Some("ses_1"), None),
            "opencode attach https://attach-1.example.org --session ses_1 --password ocattach_x"
        );
        assert_eq!(
            command("http://attach-1.localhost:3000", None, Some("http://localhost:3000")),
            "HTTP_PROXY=http://localhost:3000 NO_PROXY= opencode attach http://attach-1.localhost:3000 \
             --continue --password ocattach_x"
        );
    }

    #[test]
    fn only_names_below_localhost_need_the_router_as_proxy() {
        for (url, expected) in [
            ("http://attach-1.localhost:3000", true),
            ("http://attach-1.localhost", true),
            ("http://localhost:3000", false),
            ("https://attach-1.localhost.example.org", false),
            ("https://attach-1.example.org/x.localhost", false),
        ] {
            assert_eq!(is_below_localhost(url), expected, "{url}");
        }
    }
}
