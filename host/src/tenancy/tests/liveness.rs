//! What lasts for a key ends with the key, and asks it before each step.

use firebox_contract::Permission;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Alice with `change` made to her tenant.
fn changed(change: impl FnOnce(&mut TenantConfig)) -> Config {
    let mut alice = tenant("alice", TenantLimits::default(), &[("a", &ALICE)]);
    change(&mut alice);
    config_of(vec![alice, tenant("bob", TenantLimits::default(), &[("b", &BOB)])])
}

fn start() -> (Tenancy, ManualClock, Tenant, Tenant) {
    let (tenancy, clock) = tenancy(&changed(|_| {}), None);
    let [alice, bob] = ["a", "b"].map(|key| {
        let header = format!("Bearer fbx_{key}_secret");
        tenancy.limited_to_scopes(tenancy.authenticate(Some(&header)).expect("good"), &[Scope::Chat])
    });
    (tenancy, clock, alice, bob)
}

/// How the wait for the end of `alice` ends after `config` is taken over, and that bob's goes on.
async fn ended_by(config: &Config) -> Error {
    let (tenancy, _, alice, bob) = start();
    let (ends, check_continue) =
        (tokio::spawn(alice.caller.liveness.ended()), tokio::spawn(bob.caller.liveness.ended()));
    tokio::task::yield_now().await;
    assert!(!ends.is_finished() && alice.caller.liveness.check().is_ok());
    tenancy.replace(config).expect("good");
    let error = tokio::time::timeout(SOON, ends).await.expect("it ends").expect("no panic");
    assert_eq!(alice.caller.liveness.check().err().as_ref(), Some(&error), "asked and told alike");
    assert_eq!(alice.caller.liveness.permission("any"), Permission::Deny);
    tokio::task::yield_now().await;
    assert!(!check_continue.is_finished() && bob.caller.liveness.check().is_ok());
    error
}

#[tokio::test]
async fn a_caller_ends_when_its_key_or_tenant_is_gone_or_its_scope() {
    assert_eq!(ended_by(&changed(|alice| alice.keys.clear())).await, invalid_key());
    let mut without = changed(|_| {});
    without.tenants.remove(0);
    assert_eq!(ended_by(&without).await, invalid_key());
    // The same id with another secret is another key.
    assert_eq!(ended_by(&changed(|alice| alice.keys[0].digest = keys::digest("fbx_a_other"))).await, invalid_key());
    let less = ended_by(&changed(|alice| alice.keys[0].scopes = vec![Scope::Usage])).await;
    assert!(matches!(&less, Error::Denied(why) if why.contains("\"chat\"")), "{less}");
}

#[tokio::test]
async fn keys_that_a_configuration_lacks_are_revoked_before_the_rest_of_it_holds() {
    let (tenancy, _, alice, bob) = start();
    let mut narrow = changed(|alice| alice.keys.clear());
    narrow.tenants[1].limits.tool_calls_per_minute = Some(0);
    tenancy.revoke_missing(&narrow).expect("good");
    assert_eq!(alice.caller.liveness.check(), Err(invalid_key()));
    assert!(bob.caller.liveness.check().is_ok());
    let mut account = tenancy.admit(&bob.caller, "ember", "r").expect("allowed");
    account.allow_call(&call("units")).expect("the limits that were");
    assert!(tenancy.usage(&alice.id).is_ok(), "the tenant is still there, with what it used");
}

#[tokio::test]
async fn a_caller_whose_key_stays_goes_on_after_a_reload() {
    let (tenancy, _, alice, _) = start();
    let ended = tokio::spawn(alice.caller.liveness.ended());
    for scopes in [vec![Scope::Chat], vec![Scope::Chat, Scope::Usage]] {
        tenancy.replace(&changed(|alice| alice.keys[0].scopes = scopes)).expect("good");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!ended.is_finished() && alice.caller.liveness.check().is_ok());
}

#[tokio::test]
async fn a_caller_ends_at_the_moment_its_key_expires() {
    let (tenancy, clock, alice, _) = start();
    let moment = SystemTime::UNIX_EPOCH + clock.now() + Duration::from_secs(100);
    tenancy.replace(&changed(|alice| alice.keys[0].expires = Some(moment))).expect("good");
    let ended = tokio::spawn(alice.caller.liveness.ended());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!ended.is_finished() && alice.caller.liveness.check().is_ok());
    clock.advance(Duration::from_secs(100));
    assert_eq!(alice.caller.liveness.check(), Err(invalid_key()), "asked, it knows at once");
    assert_eq!(tokio::time::timeout(SOON, ended).await.expect("it ends").expect("no panic"), invalid_key());
}

#[test]
fn a_running_request_asks_for_the_rights_of_now() {
    let (tenancy, _, alice, _) = start();
    let mut account = tenancy.admit(&alice.caller, "ember", "r").expect("allowed");
    account.reserve(10).expect("allowed");
    tenancy
        .replace(&changed(|alice| {
            alice.tools.rules.push(("calculator".to_owned(), Permission::Deny));
            alice.limits.tool_calls_per_minute = Some(0);
        }))
        .expect("good");
    assert_eq!(alice.caller.liveness.permission("calculator"), Permission::Deny);
    assert_eq!(alice.caller.liveness.permission("units"), Permission::Allow);
    assert!(matches!(account.allow_call(&call("units")), Err(Error::Limited { .. })), "the limits of now");
    account.reserve(10).expect("allowed");
    tenancy.replace(&changed(|alice| alice.models = vec!["other".to_owned()])).expect("good");
    assert!(matches!(account.reserve(10), Err(Error::Denied(why)) if why.contains("\"ember\"")));
    tenancy.replace(&changed(|alice| alice.keys[0].scopes = vec![Scope::Usage])).expect("good");
    assert!(matches!(account.allow_call(&call("units")), Err(Error::Denied(why)) if why.contains("\"chat\"")));
}
