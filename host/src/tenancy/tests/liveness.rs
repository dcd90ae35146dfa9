//! Requests end when their key ends, and use the rights of the current configuration.

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
        tenancy.limited_to_scopes(tenancy.authenticate(Some(&header)).expect("valid"), &[Scope::Chat])
    });
    (tenancy, clock, alice, bob)
}

/// The error that ends alice's request after a reload with `config`. Bob's request continues.
async fn ended_by(config: &Config) -> Error {
    let (tenancy, _, alice, bob) = start();
    let (ends, continues) = (tokio::spawn(alice.caller.liveness.ended()), tokio::spawn(bob.caller.liveness.ended()));
    tokio::task::yield_now().await;
    assert!(!ends.is_finished() && alice.caller.liveness.check().is_ok());
    tenancy.replace(config).expect("valid");
    let error = tokio::time::timeout(SOON, ends).await.expect("it ends").expect("no panic");
    assert_eq!(alice.caller.liveness.check().err().as_ref(), Some(&error), "check and notification agree");
    assert_eq!(alice.caller.liveness.permission("any"), Permission::Deny);
    tokio::task::yield_now().await;
    assert!(!continues.is_finished() && bob.caller.liveness.check().is_ok());
    error
}

#[tokio::test]
async fn a_request_ends_when_its_key_tenant_or_scope_is_removed() {
    assert_eq!(ended_by(&changed(|alice| alice.keys.clear())).await, invalid_key());
    let mut without = changed(|_| {});
    without.tenants.remove(0);
    assert_eq!(ended_by(&without).await, invalid_key());
    // A key with the same id and another secret is another key.
    assert_eq!(ended_by(&changed(|alice| alice.keys[0].digest = keys::digest("fbx_a_other"))).await, invalid_key());
    let less = ended_by(&changed(|alice| alice.keys[0].scopes = vec![Scope::Usage])).await;
    assert!(matches!(&less, Error::Denied(why) if why.contains("\"chat\"")), "{less}");
}

#[tokio::test]
async fn removed_keys_are_revoked_before_the_rest_of_a_reload() {
    let (tenancy, _, alice, bob) = start();
    let mut narrow = changed(|alice| alice.keys.clear());
    narrow.tenants[1].limits.tool_calls_per_minute = Some(0);
    tenancy.revoke_missing(&narrow).expect("valid");
    assert_eq!(alice.caller.liveness.check(), Err(invalid_key()));
    assert!(bob.caller.liveness.check().is_ok());
    let mut reservation = tenancy.admit(&bob.caller, "ember", "r").expect("allowed");
    reservation.allow_call(&call("units")).expect("the old limits");
    assert!(tenancy.usage(&alice.id).is_ok(), "the tenant is still there, with what it used");
}

#[tokio::test]
async fn a_request_continues_after_a_reload_that_keeps_its_key() {
    let (tenancy, _, alice, _) = start();
    let ended = tokio::spawn(alice.caller.liveness.ended());
    for scopes in [vec![Scope::Chat], vec![Scope::Chat, Scope::Usage]] {
        tenancy.replace(&changed(|alice| alice.keys[0].scopes = scopes)).expect("valid");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!ended.is_finished() && alice.caller.liveness.check().is_ok());
}

#[tokio::test]
async fn a_request_ends_when_its_key_expires() {
    let (tenancy, clock, alice, _) = start();
    let moment = SystemTime::UNIX_EPOCH + clock.now() + Duration::from_secs(100);
    tenancy.replace(&changed(|alice| alice.keys[0].expires = Some(moment))).expect("valid");
    let ended = tokio::spawn(alice.caller.liveness.ended());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!ended.is_finished() && alice.caller.liveness.check().is_ok());
    clock.advance(Duration::from_secs(100));
    assert_eq!(alice.caller.liveness.check(), Err(invalid_key()), "the check sees it at once");
    assert_eq!(tokio::time::timeout(SOON, ended).await.expect("it ends").expect("no panic"), invalid_key());
}

#[test]
fn a_running_request_uses_the_rights_of_the_current_configuration() {
    let (tenancy, _, alice, _) = start();
    let mut reservation = tenancy.admit(&alice.caller, "ember", "r").expect("allowed");
    reservation.reserve(10).expect("allowed");
    tenancy
        .replace(&changed(|alice| {
            alice.tools.rules.push(("calculator".to_owned(), Permission::Deny));
            alice.limits.tool_calls_per_minute = Some(0);
        }))
        .expect("valid");
    assert_eq!(alice.caller.liveness.permission("calculator"), Permission::Deny);
    assert_eq!(alice.caller.liveness.permission("units"), Permission::Allow);
    assert!(matches!(reservation.allow_call(&call("units")), Err(Error::Limited { .. })), "the current limits");
    reservation.reserve(10).expect("allowed");
    tenancy.replace(&changed(|alice| alice.models = vec!["other".to_owned()])).expect("valid");
    assert!(matches!(reservation.reserve(10), Err(Error::Denied(why)) if why.contains("\"ember\"")));
    tenancy.replace(&changed(|alice| alice.keys[0].scopes = vec![Scope::Usage])).expect("valid");
    assert!(matches!(reservation.allow_call(&call("units")), Err(Error::Denied(why)) if why.contains("\"chat\"")));
}
