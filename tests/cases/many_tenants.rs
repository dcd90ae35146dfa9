//! Requests of several tenants with the built-in model: each gets the same text as without other requests, and only its own tenant
//! reuses a cached prefix.

use firebox::Host;
use firebox::contract::{Caller, Event, Finish, GenerationRequest, Message, Prompt, Role, SamplingOverrides, TenantId};
use firebox::models::device::DeviceChoice;

const QUESTIONS: &[&str] = &["What is 1234 * 87?", "12 km in miles", "How many r in strawberry?", "Hello there"];

async fn host() -> Host {
    let cpu: DeviceChoice = "cpu".parse().expect("a device");
    Host::builder().device(cpu).build().await.expect("builds")
}

async fn ask(host: &Host, tenant: &str, turns: &[(Role, &str)]) -> (String, Finish) {
    let messages = turns.iter().map(|(role, text)| Message::text(*role, *text)).collect();
    let sampling = SamplingOverrides { temperature: Some(0.0), max_tokens: Some(40), ..Default::default() };
    let request = GenerationRequest { sampling, ..GenerationRequest::new(Prompt::Chat(messages)) };
    let caller = Caller::of(TenantId::new(tenant));
    let mut generation = host.engine().generate(&caller, request).await.expect("admitted");
    let (mut text, mut finish) = (String::new(), None);
    while let Some(event) = generation.next().await.expect("answers") {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Finished(last) => finish = Some(last),
            _ => {}
        }
    }
    (text, finish.expect("a last event"))
}

#[tokio::test]
async fn i8_a_second_turn_reuses_the_cache_of_its_own_tenant_only() {
    let host = host().await;
    let question = [(Role::User, QUESTIONS[0])];
    let (first, _) = ask(&host, "a", &question).await;
    let turns = [question[0], (Role::Assistant, first.as_str()), (Role::User, QUESTIONS[1])];
    let (fresh, other) = ask(&host, "b", &turns).await;
    assert_eq!(other.usage.cached_tokens, 0, "another tenant's cache is not there");
    let (text, own) = ask(&host, "a", &turns).await;
    assert_eq!(text, fresh, "the same text with and without");
    assert!(own.usage.cached_tokens >= 16, "{:?}", own.usage);
    let (text, again) = ask(&host, "b", &turns).await;
    assert_eq!((text, again.usage.cached_tokens), (fresh, again.usage.prompt_tokens - 1));
    let counters = host.engine().counters();
    assert_eq!((counters.prefix_queries, counters.prefix_hits), (4, 2));
    assert!(counters.cache.used_bytes <= counters.cache.budget_bytes);
}

#[tokio::test]
async fn requests_in_one_batch_get_the_same_text_as_alone() {
    let host = std::sync::Arc::new(host().await);
    let mut alone = Vec::new();
    for question in QUESTIONS {
        alone.push(ask(&host, "alone", &[(Role::User, question)]).await.0);
    }
    let before = host.engine().counters();
    let mut together = Vec::new();
    for tenant in ["a", "b", "c"] {
        for question in QUESTIONS {
            let host = std::sync::Arc::clone(&host);
            together.push(tokio::spawn(async move { ask(&host, tenant, &[(Role::User, question)]).await.0 }));
        }
    }
    for (n, text) in together.into_iter().enumerate() {
        assert_eq!(text.await.expect("no panic"), alone[n % QUESTIONS.len()], "{}", QUESTIONS[n % QUESTIONS.len()]);
    }
    let after = host.engine().counters();
    let mean = (after.batched_sequences - before.batched_sequences) as f64 / (after.steps - before.steps) as f64;
    assert!(mean > 2.0, "steps are shared: {mean} sequences each");
    assert_eq!(host.engine().close(std::time::Duration::from_secs(5)).await, 0);
}
