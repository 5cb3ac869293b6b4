//! The GitHub token of the person who owns this machine: GH_TOKEN, GITHUB_TOKEN, or the one that `gh` has
//! stored, in gh's own order.

use std::{
    ffi::{OsStr, OsString},
    process::Stdio,
    time::Duration,
};

use api::server::OwnToken;
use futures_util::future::{BoxFuture, FutureExt as _};
use github::ApiUrl;
use pod_manager::Token;
use tokio::{
    io::AsyncReadExt as _,
    process::Command,
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::config::Environment;

/// The variables that may contain the token.
const VARIABLES: [&str; 2] = ["GH_TOKEN", "GITHUB_TOKEN"];
/// How long gh's answer is used: a new sign-in with gh is seen after that.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// gh reads a file or asks the keyring, which may wait for the user.
const GH_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads the token where the machine's owner keeps it.
pub(crate) struct OwnGithubToken {
    from_environment: Option<Token>,
    gh: OsString,
    host: String,
    environment: Vec<(OsString, OsString)>,
    remembered: Mutex<Option<(Instant, Option<Token>)>>,
}

impl OwnGithubToken {
    pub(crate) fn new(api: &ApiUrl, environment: &Environment) -> Self {
        Self::with_program("gh".into(), api, environment)
    }

    fn with_program(gh: OsString, api: &ApiUrl, Environment(environment): &Environment) -> Self {
        let value = |name: &&str| {
            let (_, value) = environment.iter().find(|(key, _)| key == OsStr::new(name))?;
            Token::parse(value.to_str()?.trim())
        };
        Self {
            from_environment: VARIABLES.iter().find_map(value),
            gh,
            host: api.web_host(),
            environment: environment.clone(),
            remembered: Mutex::default(),
        }
    }

    async fn gh_token(&self) -> Option<Token> {
        // Whoever asks while gh runs waits for its answer.
        let mut remembered = self.remembered.lock().await;
        if let Some((since, token)) = remembered.as_ref()
            && since.elapsed() < REMEMBERED_FOR
        {
            return token.clone();
        }
        let token = timeout(GH_TIMEOUT, self.ask_gh()).await.ok().flatten();
        *remembered = Some((Instant::now(), token.clone()));
        token
    }

    /// Runs `gh auth token`. Without gh, or without a sign-in, there is no token.
    async fn ask_gh(&self) -> Option<Token> {
        let mut child = Command::new(&self.gh)
            .args(["auth", "token", "--hostname", &self.host])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("GH_PROMPT_DISABLED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut text = String::new();
        let limit = u64::try_from(Token::MAX_BYTES).unwrap_or(u64::MAX) + 2;
        child.stdout.take()?.take(limit).read_to_string(&mut text).await.ok()?;
        let status = child.wait().await.ok()?;
        Token::parse(text.trim()).filter(|_| status.success())
    }
}

impl OwnToken for OwnGithubToken {
    fn token(&self) -> BoxFuture<'_, Option<Token>> {
        async {
            match &self.from_environment {
                Some(token) => Some(token.clone()),
                None => self.gh_token().await,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    /// Writes a program that stands in for gh.
    fn program(folder: &Path, script: &str) -> OsString {
        let path = folder.join("gh");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path.into()
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    async fn token_of(source: &OwnGithubToken) -> Option<String> {
        source.token().await.map(|token| token.expose().to_owned())
    }

    #[tokio::test]
    async fn the_environment_is_asked_before_gh() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = async |variables: &[(&str, &str)], expected: Option<&str>| {
            let gh = program(folder.path(), "echo from-gh");
            let source = OwnGithubToken::with_program(gh, &ApiUrl::default(), &environment(variables));
            assert_eq!(token_of(&source).await.as_deref(), expected, "{variables:?}");
        };
        check(&[("GH_TOKEN", "one"), ("GITHUB_TOKEN", "two")], Some("one")).await;
        check(&[("GITHUB_TOKEN", "two")], Some("two")).await;
        check(&[("GH_TOKEN", ""), ("GITHUB_TOKEN", "two\n")], Some("two")).await;
        check(&[("GH_TOKEN", " ")], Some("from-gh")).await;
    }

    #[tokio::test]
    async fn gh_is_asked_for_the_hosts_token_once_a_minute() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let gh = program(folder.path(), &format!("echo \"$@ $SECRET\" >> {}; echo gho_1", log.display()));
        let api = ApiUrl::parse("https://git.acme.example/api/v3").expect("an address");
        let source = OwnGithubToken::with_program(gh, &api, &environment(&[("SECRET", "of-the-user")]));
        for _ in 0..3 {
            assert_eq!(token_of(&source).await.as_deref(), Some("gho_1"));
        }
        let asked = fs::read_to_string(log).expect("a log");
        assert_eq!(asked, "auth token --hostname git.acme.example of-the-user\n");
    }

    #[tokio::test]
    async fn without_gh_or_a_sign_in_there_is_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = async |gh: OsString| {
            let source = OwnGithubToken::with_program(gh, &ApiUrl::default(), &environment(&[]));
            assert_eq!(token_of(&source).await, None);
        };
        check(folder.path().join("missing").into()).await;
        check(program(folder.path(), "echo gho_1; exit 1")).await;
        check(program(folder.path(), "echo 'no oauth token found'")).await;
        check(program(folder.path(), "exec cat /dev/zero")).await;
    }
}
