#![expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::model::{FailureCode, StopReason};

fn desired(state: DesiredState) -> Desired {
    Desired { state, since: Some(SystemTime::UNIX_EPOCH) }
}

fn failure() -> Failure {
    Failure {
        code: FailureCode::CloneFailed,
        message: "it broke".into(),
        advice: "mend it".into(),
        log_tail: None,
    }
}

fn seen(pvc: Presence, pod: Presence, run: Option<&str>) -> Current {
    Current { pvc, pod, uid: "u1".into(), run: run.map(str::to_owned), failure: None }
}

#[test]
fn each_state_has_one_next_step() {
    use Presence::{Absent, Present, Terminating};
    #[track_caller]
    fn check(state: DesiredState, seen: &Current, expected: Action) {
        assert_eq!(reconcile(&desired(state), seen), expected, "{seen:?}");
    }
    let running = || DesiredState::Running("r1".into());
    let delete = || Action::DeletePod("u1".into());
    let (stopped, failed) = (DesiredState::Stopped(StopReason::Idle), DesiredState::Failed(failure()));

    check(running(), &seen(Present, Absent, None), Action::CreatePod("r1".into()));
    check(running(), &seen(Present, Present, Some("r1")), Action::Nothing);
    check(running(), &seen(Present, Present, Some("r0")), delete());
    check(running(), &seen(Present, Present, None), delete());
    // A Pod that is going is waited for: never two on one claim.
    check(running(), &seen(Present, Terminating, Some("r0")), Action::Nothing);
    check(running(), &seen(Present, Terminating, Some("r1")), Action::Nothing);

    for state in [stopped.clone(), failed.clone()] {
        check(state.clone(), &seen(Present, Present, Some("r1")), delete());
        check(state.clone(), &seen(Present, Terminating, Some("r1")), Action::Nothing);
        check(state, &seen(Present, Absent, None), Action::Nothing);
    }
    for state in [running(), stopped, failed, DesiredState::Unmanaged] {
        check(state.clone(), &seen(Terminating, Present, Some("r1")), delete());
        check(state.clone(), &seen(Terminating, Absent, None), Action::Nothing);
        check(state.clone(), &seen(Absent, Present, Some("r1")), delete());
        check(state, &seen(Absent, Absent, None), Action::Nothing);
    }
    // The TypeScript router's: left as they are until somebody asks for something.
    check(DesiredState::Unmanaged, &seen(Present, Present, None), Action::Nothing);
    check(DesiredState::Unmanaged, &seen(Present, Absent, None), Action::Nothing);

    let broken = |run| Current { failure: Some(failure()), ..seen(Present, Present, run) };
    check(running(), &broken(Some("r1")), Action::GiveUp(failure()));
    check(DesiredState::Unmanaged, &broken(None), Action::GiveUp(failure()));
    // What failed before is not this run's failure.
    check(running(), &broken(Some("r0")), delete());
}

/// The API server's truth, as far as one session goes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Truth {
    pvc: Option<Claim>,
    pod: Option<Thing>,
    uids: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct Claim {
    state: DesiredState,
    version: u32,
    terminating: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Thing {
    uid: String,
    run: String,
    terminating: bool,
    broken: bool,
}

#[derive(Debug, Clone)]
enum Happens {
    Start,
    Stop,
    Delete,
    /// A router's watches bring its claim, or its Pod, up to date: never both at once.
    SeesClaim(usize),
    SeesPod(usize),
    /// A router does its next step, by state it has seen.
    Acts(usize),
    /// A router decides on its next step, and is overtaken by others before it is done.
    Decides(usize),
    Does(usize),
    /// A router is killed and another one begins.
    Restarts(usize),
    /// kubelet ends state is going.
    Ends,
    Breaks,
    /// Somebody else deletes the Pod.
    Drained,
}

#[derive(Debug, Clone, Default)]
struct Router {
    pvc: Option<Claim>,
    pod: Option<Thing>,
    /// The claim's version it was decided by.
    decided: Option<(Action, u32)>,
}

const ROUTERS: usize = 3;

fn happens() -> impl Strategy<Value = Happens> {
    let router = 0..ROUTERS;
    prop_oneof![
        2 => Just(Happens::Start),
        1 => Just(Happens::Stop),
        1 => Just(Happens::Delete),
        4 => router.clone().prop_map(Happens::SeesClaim),
        4 => router.clone().prop_map(Happens::SeesPod),
        4 => router.clone().prop_map(Happens::Acts),
        3 => router.clone().prop_map(Happens::Decides),
        3 => router.clone().prop_map(Happens::Does),
        1 => router.prop_map(Happens::Restarts),
        3 => Just(Happens::Ends),
        1 => Just(Happens::Breaks),
        1 => Just(Happens::Drained),
    ]
}

impl Router {
    fn decide(&self) -> Action {
        let there = |there: Option<bool>| match there {
            None => Presence::Absent,
            Some(false) => Presence::Present,
            Some(true) => Presence::Terminating,
        };
        let pod = self.pod.as_ref();
        let seen = Current {
            pvc: there(self.pvc.as_ref().map(|pvc| pvc.terminating)),
            pod: there(pod.map(|pod| pod.terminating)),
            uid: pod.map(|pod| pod.uid.clone()).unwrap_or_default(),
            run: pod.map(|pod| pod.run.clone()),
            failure: pod.is_some_and(|pod| pod.broken).then(failure),
        };
        reconcile(&desired(self.pvc.as_ref().map_or(DesiredState::Unmanaged, |pvc| pvc.state.clone())), &seen)
    }

    /// Before a Pod is deleted, the claim is read anew.
    fn decide_for_sure(&mut self, truth: &Truth) -> Action {
        let action = self.decide();
        if !matches!(action, Action::DeletePod(_)) {
            return action;
        }
        self.pvc.clone_from(&truth.pvc);
        let again = self.decide();
        if again == action { again } else { Action::Nothing }
    }

    fn version(&self) -> u32 {
        self.pvc.as_ref().map_or(0, |pvc| pvc.version)
    }
}

impl Truth {
    fn fresh(&mut self) -> u32 {
        self.uids += 1;
        self.uids
    }

    fn want(&mut self, state: DesiredState) {
        let version = self.fresh();
        if let Some(pvc) = &mut self.pvc {
            (pvc.state, pvc.version) = (state, version);
        }
    }

    fn is_wanted(&self, pod: &Thing) -> bool {
        self.pvc
            .as_ref()
            .is_some_and(|pvc| !pvc.terminating && pvc.state == DesiredState::Running(pod.run.clone()))
    }

    /// What the API server makes of a call.
    fn take(&mut self, action: Action, decided_by: u32) {
        let uid = format!("u{}", self.fresh());
        match action {
            Action::Nothing => {}
            Action::CreatePod(run) => {
                // Of its own name, there is one at most.
                self.pod.get_or_insert(Thing { uid, run, terminating: false, broken: false });
            }
            Action::DeletePod(uid) if self.pod.as_ref().is_none_or(|pod| pod.uid != uid) => {}
            Action::DeletePod(_) => {
                let pod = self.pod.clone().expect("just looked at");
                assert!(!self.is_wanted(&pod), "a Pod that is wanted is deleted: {self:?}");
                self.pod = Some(Thing { terminating: true, ..pod });
            }
            Action::GiveUp(failure) => {
                if self.pvc.as_ref().is_some_and(|pvc| pvc.version == decided_by && !pvc.terminating) {
                    self.want(DesiredState::Failed(failure));
                }
            }
        }
    }

    fn happen(&mut self, routers: &mut [Router; ROUTERS], state: &Happens) {
        match state {
            Happens::Start if self.pvc.is_none() => {
                let version = self.fresh();
                let state = DesiredState::Running(format!("r{version}"));
                self.pvc = Some(Claim { state, version, terminating: false });
            }
            Happens::Start => {
                let pvc = self.pvc.clone().expect("just looked at");
                if !pvc.terminating && !matches!(pvc.state, DesiredState::Running(_)) {
                    let run = format!("r{}", self.fresh());
                    self.want(DesiredState::Running(run));
                }
            }
            Happens::Stop => {
                if self
                    .pvc
                    .as_ref()
                    .is_some_and(|pvc| matches!(pvc.state, DesiredState::Running(_)) && !pvc.terminating)
                {
                    self.want(DesiredState::Stopped(StopReason::Requested));
                }
            }
            Happens::Delete => {
                let version = self.fresh();
                if let Some(pvc) = &mut self.pvc {
                    (pvc.terminating, pvc.version) = (true, version);
                }
            }
            Happens::SeesClaim(router) => routers[*router].pvc.clone_from(&self.pvc),
            Happens::SeesPod(router) => routers[*router].pod.clone_from(&self.pod),
            Happens::Acts(router) => {
                let router = &mut routers[*router];
                let action = router.decide_for_sure(self);
                self.take(action, router.version());
            }
            Happens::Decides(router) => {
                let router = &mut routers[*router];
                router.decided = Some((router.decide_for_sure(self), router.version()));
            }
            Happens::Does(router) => {
                if let Some((action, version)) = routers[*router].decided.take() {
                    self.take(action, version);
                }
            }
            Happens::Restarts(router) => routers[*router] = Router::default(),
            Happens::Ends => {
                if self.pod.as_ref().is_some_and(|pod| pod.terminating) {
                    self.pod = None;
                }
                // Its finalizer holds a claim for as long as a Pod has it.
                if self.pod.is_none() && self.pvc.as_ref().is_some_and(|pvc| pvc.terminating) {
                    self.pvc = None;
                }
            }
            Happens::Breaks => {
                if let Some(pod) = &mut self.pod {
                    pod.broken = true;
                }
            }
            Happens::Drained => {
                if let Some(pod) = &mut self.pod {
                    pod.terminating = true;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, with routers that see late and are killed between any two calls: no Pod that is
    /// wanted is ever deleted, and once things calm down, state is there is state is desired.
    #[test]
    fn whatever_happens_it_ends_as_it_is_wanted(all in prop::collection::vec(happens(), 0..60)) {
        let (mut truth, mut routers) = (Truth::default(), <[Router; ROUTERS]>::default());
        for one in &all {
            truth.happen(&mut routers, one);
        }
        for _ in 0..12 {
            for router in 0..ROUTERS {
                for one in [Happens::SeesClaim(router), Happens::SeesPod(router), Happens::Acts(router), Happens::Ends] {
                    truth.happen(&mut routers, &one);
                }
            }
        }
        match truth.pvc.as_ref().map(|pvc| (&pvc.state, pvc.terminating)) {
            None => prop_assert_eq!(&truth.pod, &None),
            Some((_, true)) => prop_assert!(false, "the claim is never let go: {:?}", truth),
            Some((DesiredState::Running(run), false)) => {
                let pod = truth.pod.as_ref().expect("a Pod");
                prop_assert!(pod.run == *run && !pod.terminating && !pod.broken, "{:?}", truth);
            }
            Some((_, false)) => prop_assert_eq!(&truth.pod, &None),
        }
    }
}
