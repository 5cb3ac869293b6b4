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
        message: "It broke.".into(),
        advice: "Fix it.".into(),
        log_tail: None,
    }
}

fn current(pvc: Presence, pod: Presence, run: Option<&str>) -> Current {
    Current { pvc, pod, uid: "u1".into(), run: run.map(str::to_owned), failure: None }
}

#[test]
fn each_state_has_one_next_action() {
    use Presence::{Absent, Present, Terminating};
    #[track_caller]
    fn check(state: DesiredState, current: &Current, expected: Action) {
        assert_eq!(reconcile(&desired(state), current), expected, "{current:?}");
    }
    let running = || DesiredState::Running("r1".into());
    let delete = || Action::DeletePod("u1".into());
    let (stopped, failed) = (DesiredState::Stopped(StopReason::Idle), DesiredState::Failed(failure()));

    check(running(), &current(Present, Absent, None), Action::CreatePod("r1".into()));
    check(running(), &current(Present, Present, Some("r1")), Action::Nothing);
    check(running(), &current(Present, Present, Some("r0")), delete());
    check(running(), &current(Present, Present, None), delete());
    // A terminating Pod is waited for: never two on one claim.
    check(running(), &current(Present, Terminating, Some("r0")), Action::Nothing);
    check(running(), &current(Present, Terminating, Some("r1")), Action::Nothing);

    for state in [stopped.clone(), failed.clone()] {
        check(state.clone(), &current(Present, Present, Some("r1")), delete());
        check(state.clone(), &current(Present, Terminating, Some("r1")), Action::Nothing);
        check(state, &current(Present, Absent, None), Action::Nothing);
    }
    for state in [running(), stopped, failed, DesiredState::Unmanaged] {
        check(state.clone(), &current(Terminating, Present, Some("r1")), delete());
        check(state.clone(), &current(Terminating, Absent, None), Action::Nothing);
        check(state.clone(), &current(Absent, Present, Some("r1")), delete());
        check(state, &current(Absent, Absent, None), Action::Nothing);
    }
    // A session of the TypeScript router is left as it is until somebody gives a command.
    check(DesiredState::Unmanaged, &current(Present, Present, None), Action::Nothing);
    check(DesiredState::Unmanaged, &current(Present, Absent, None), Action::Nothing);

    let failed = |run| Current { failure: Some(failure()), ..current(Present, Present, run) };
    check(running(), &failed(Some("r1")), Action::GiveUp(failure()));
    check(DesiredState::Unmanaged, &failed(None), Action::GiveUp(failure()));
    // The failure of another run does not count.
    check(running(), &failed(Some("r0")), delete());
}

/// One session's objects in the API server.
#[derive(Debug, Clone, Default, PartialEq)]
struct Cluster {
    pvc: Option<ClaimObject>,
    pod: Option<PodObject>,
    uids: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct ClaimObject {
    state: DesiredState,
    version: u32,
    terminating: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct PodObject {
    uid: String,
    run: String,
    terminating: bool,
    has_failed: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Start,
    Stop,
    Delete,
    /// A router's watch delivers the claim, or the Pod: never both at once.
    SeesClaim(usize),
    SeesPod(usize),
    /// A router carries out its next action, by the objects that it has seen.
    Acts(usize),
    /// A router decides on its next action, and carries it out later than others.
    Decides(usize),
    CarriesOut(usize),
    /// A router is killed and another one starts.
    Restarts(usize),
    /// kubelet ends the terminating Pod.
    PodEnds,
    PodFails,
    /// Somebody else deletes the Pod.
    PodIsDrained,
}

#[derive(Debug, Clone, Default)]
struct Router {
    pvc: Option<ClaimObject>,
    pod: Option<PodObject>,
    /// The action, and the version of the claim that it is based on.
    decided: Option<(Action, u32)>,
}

const ROUTERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let router = 0..ROUTERS;
    prop_oneof![
        2 => Just(Step::Start),
        1 => Just(Step::Stop),
        1 => Just(Step::Delete),
        4 => router.clone().prop_map(Step::SeesClaim),
        4 => router.clone().prop_map(Step::SeesPod),
        4 => router.clone().prop_map(Step::Acts),
        3 => router.clone().prop_map(Step::Decides),
        3 => router.clone().prop_map(Step::CarriesOut),
        1 => router.prop_map(Step::Restarts),
        3 => Just(Step::PodEnds),
        1 => Just(Step::PodFails),
        1 => Just(Step::PodIsDrained),
    ]
}

impl Router {
    fn decide(&self) -> Action {
        let presence = |terminating: Option<bool>| match terminating {
            None => Presence::Absent,
            Some(false) => Presence::Present,
            Some(true) => Presence::Terminating,
        };
        let pod = self.pod.as_ref();
        let current = Current {
            pvc: presence(self.pvc.as_ref().map(|pvc| pvc.terminating)),
            pod: presence(pod.map(|pod| pod.terminating)),
            uid: pod.map(|pod| pod.uid.clone()).unwrap_or_default(),
            run: pod.map(|pod| pod.run.clone()),
            failure: pod.is_some_and(|pod| pod.has_failed).then(failure),
        };
        reconcile(
            &desired(self.pvc.as_ref().map_or(DesiredState::Unmanaged, |pvc| pvc.state.clone())),
            &current,
        )
    }

    /// Before a Pod is deleted, the current claim is read.
    fn decide_by_current_claim(&mut self, cluster: &Cluster) -> Action {
        let action = self.decide();
        if !matches!(action, Action::DeletePod(_)) {
            return action;
        }
        self.pvc.clone_from(&cluster.pvc);
        let current = self.decide();
        if current == action { current } else { Action::Nothing }
    }

    fn version(&self) -> u32 {
        self.pvc.as_ref().map_or(0, |pvc| pvc.version)
    }
}

impl Cluster {
    fn next_version(&mut self) -> u32 {
        self.uids += 1;
        self.uids
    }

    fn set_desired(&mut self, state: DesiredState) {
        let version = self.next_version();
        if let Some(pvc) = &mut self.pvc {
            (pvc.state, pvc.version) = (state, version);
        }
    }

    fn is_desired(&self, pod: &PodObject) -> bool {
        self.pvc
            .as_ref()
            .is_some_and(|pvc| !pvc.terminating && pvc.state == DesiredState::Running(pod.run.clone()))
    }

    /// Carries out an action as the API server would.
    fn carry_out(&mut self, action: Action, version: u32) {
        let uid = format!("u{}", self.next_version());
        match action {
            Action::Nothing => {}
            Action::CreatePod(run) => {
                // Names are unique: there is at most one Pod.
                self.pod.get_or_insert(PodObject { uid, run, terminating: false, has_failed: false });
            }
            Action::DeletePod(uid) if self.pod.as_ref().is_none_or(|pod| pod.uid != uid) => {}
            Action::DeletePod(_) => {
                let pod = self.pod.clone().expect("checked above");
                assert!(!self.is_desired(&pod), "a desired Pod is deleted: {self:?}");
                self.pod = Some(PodObject { terminating: true, ..pod });
            }
            Action::GiveUp(failure) => {
                if self.pvc.as_ref().is_some_and(|pvc| pvc.version == version && !pvc.terminating) {
                    self.set_desired(DesiredState::Failed(failure));
                }
            }
        }
    }

    fn apply(&mut self, routers: &mut [Router; ROUTERS], step: &Step) {
        match step {
            Step::Start if self.pvc.is_none() => {
                let version = self.next_version();
                let state = DesiredState::Running(format!("r{version}"));
                self.pvc = Some(ClaimObject { state, version, terminating: false });
            }
            Step::Start => {
                let pvc = self.pvc.clone().expect("checked above");
                if !pvc.terminating && !matches!(pvc.state, DesiredState::Running(_)) {
                    let run = format!("r{}", self.next_version());
                    self.set_desired(DesiredState::Running(run));
                }
            }
            Step::Stop => {
                if self
                    .pvc
                    .as_ref()
                    .is_some_and(|pvc| matches!(pvc.state, DesiredState::Running(_)) && !pvc.terminating)
                {
                    self.set_desired(DesiredState::Stopped(StopReason::Requested));
                }
            }
            Step::Delete => {
                let version = self.next_version();
                if let Some(pvc) = &mut self.pvc {
                    (pvc.terminating, pvc.version) = (true, version);
                }
            }
            Step::SeesClaim(router) => routers[*router].pvc.clone_from(&self.pvc),
            Step::SeesPod(router) => routers[*router].pod.clone_from(&self.pod),
            Step::Acts(router) => {
                let router = &mut routers[*router];
                let action = router.decide_by_current_claim(self);
                self.carry_out(action, router.version());
            }
            Step::Decides(router) => {
                let router = &mut routers[*router];
                router.decided = Some((router.decide_by_current_claim(self), router.version()));
            }
            Step::CarriesOut(router) => {
                if let Some((action, version)) = routers[*router].decided.take() {
                    self.carry_out(action, version);
                }
            }
            Step::Restarts(router) => routers[*router] = Router::default(),
            Step::PodEnds => {
                if self.pod.as_ref().is_some_and(|pod| pod.terminating) {
                    self.pod = None;
                }
                // A finalizer keeps the claim as long as a Pod uses it.
                if self.pod.is_none() && self.pvc.as_ref().is_some_and(|pvc| pvc.terminating) {
                    self.pvc = None;
                }
            }
            Step::PodFails => {
                if let Some(pod) = &mut self.pod {
                    pod.has_failed = true;
                }
            }
            Step::PodIsDrained => {
                if let Some(pod) = &mut self.pod {
                    pod.terminating = true;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// In any order of steps, with routers that see changes late and are killed between any two calls: no
    /// desired Pod is ever deleted, and in the end the cluster is in the desired state.
    #[test]
    fn any_order_of_steps_ends_in_the_desired_state(steps in prop::collection::vec(step(), 0..60)) {
        let (mut cluster, mut routers) = (Cluster::default(), <[Router; ROUTERS]>::default());
        for step in &steps {
            cluster.apply(&mut routers, step);
        }
        for _ in 0..12 {
            for router in 0..ROUTERS {
                for step in [Step::SeesClaim(router), Step::SeesPod(router), Step::Acts(router), Step::PodEnds] {
                    cluster.apply(&mut routers, &step);
                }
            }
        }
        match cluster.pvc.as_ref().map(|pvc| (&pvc.state, pvc.terminating)) {
            None => prop_assert_eq!(&cluster.pod, &None),
            Some((_, true)) => prop_assert!(false, "the claim is never removed: {:?}", cluster),
            Some((DesiredState::Running(run), false)) => {
                let pod = cluster.pod.as_ref().expect("a Pod");
                prop_assert!(pod.run == *run && !pod.terminating && !pod.has_failed, "{:?}", cluster);
            }
            Some((_, false)) => prop_assert_eq!(&cluster.pod, &None),
        }
    }
}
