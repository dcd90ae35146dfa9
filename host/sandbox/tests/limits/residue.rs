//! An instance finds no data of the instances that used the same memory before it, however those ended.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{FaultCause, TextVerdict};
use firebox_sandbox::{Allocation, CpuBudget, PluginChain, PluginLimits, PluginSpec, Sandbox, SandboxOptions};

use crate::support::{bind, chain, fault, guest, spec};

/// Requests, alternating between two tenants.
const REQUESTS: usize = 600;

async fn residue(sandbox: &Sandbox, name: &str, limits: PluginLimits, budget: &Arc<CpuBudget>) -> PluginChain {
    let spec = PluginSpec { limits, ..spec(name, guest("residue")) };
    let plugin = sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    chain(&[&plugin]).charged_to(Arc::clone(budget))
}

async fn no_data_is_left(allocation: Allocation) {
    // A small pool, so that each memory is reused many times.
    let options = SandboxOptions { pool_memories: 4, allocation, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(options).expect("an engine");
    let budgets: [Arc<CpuBudget>; 2] = Default::default();
    let patient = PluginLimits { fuel: 20_000_000, timeout: Duration::from_secs(60), ..PluginLimits::default() };
    let hasty = PluginLimits { timeout: Duration::from_millis(40), fuel: 1_000_000_000_000, ..PluginLimits::default() };
    let tenants = [
        residue(&sandbox, "first", patient, &budgets[0]).await,
        residue(&sandbox, "second", patient, &budgets[1]).await,
    ];
    let late = residue(&sandbox, "late", hasty, &budgets[1]).await;
    let endless = PluginLimits { fuel: 1_000_000_000_000, ..patient };
    let cancelled = residue(&sandbox, "cancelled", endless, &budgets[0]).await;
    for number in 0..REQUESTS {
        let tenant = &tenants[number % 2];
        match number % 20 {
            7 => {
                let trapped = fault(bind(tenant).await.push("trap".to_owned()).await);
                assert!(matches!(trapped.cause, FaultCause::Trapped { .. }), "{trapped}");
            }
            12 => {
                let spent = fault(bind(tenant).await.push("spin".to_owned()).await);
                assert!(matches!(spent.cause, FaultCause::OutOfFuel { .. }), "{spent}");
            }
            16 if number % 100 == 16 => {
                let ended = fault(bind(&late).await.push("spin".to_owned()).await);
                assert!(matches!(ended.cause, FaultCause::TimedOut { .. }), "{ended}");
            }
            18 => {
                let mut hooks = bind(&cancelled).await;
                let spinning = tokio::time::timeout(Duration::from_millis(2), hooks.push("spin".to_owned()));
                assert!(spinning.await.is_err(), "it loops");
            }
            _ => {
                let found = bind(tenant).await.push("ok".to_owned()).await.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(found, TextVerdict::Emit("0".to_owned()), "request {number} of {allocation:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_pooled_instance_finds_no_data_of_earlier_ones() {
    no_data_is_left(Allocation::Pooled).await;
}

#[tokio::test]
async fn an_instance_on_demand_finds_no_data_of_earlier_ones() {
    no_data_is_left(Allocation::OnDemand).await;
}
