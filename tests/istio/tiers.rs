//! Provisioned capacity first, pay-as-you-go in two regions when that is full or down.

use std::time::Duration;

use local_azure::Fault;
use testkit::world::{assert_absent, values};
use tokio::time::sleep;

use crate::cluster::{Cluster, test};

/// How many errors in a row eject an endpoint (`consecutive5xxErrors` of `outside.yaml`).
const ERRORS: usize = 5;

/// How long Envoy may keep a change of health from its workers (`update_merge_window`).
const MERGED: Duration = Duration::from_secs(1);

#[test]
fn a_request_that_the_full_deployment_refuses_is_answered_by_another() {
    test(async |cluster| {
        cluster
            .azure
            .openai
            .fault(Fault::RetryAfter { status: 429, after: Duration::from_secs(9) });
        let (token, before) = (cluster.token(), standard(cluster));
        let reply = cluster.chat_request().bearer_auth(&token).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(standard(cluster), before + 1, "one of the pay-as-you-go deployments");
        let names = ["my-openai-sweden.openai.azure.com", "my-openai-france.openai.azure.com"];
        for (backend, name) in [&cluster.sweden, &cluster.france].into_iter().zip(names) {
            for seen in backend.requests() {
                assert_eq!(values(&seen, "host"), [name], "the retry has its endpoint's name");
                assert_absent(&seen, &token);
            }
        }
    });
}

#[test]
fn a_deployment_that_answers_429_is_left_alone_until_it_has_healed() {
    let full = Fault::RetryAfter { status: 429, after: Duration::from_secs(9) };
    test(async |cluster| is_left_alone(cluster, full).await);
}

#[test]
fn a_deployment_that_answers_503_is_left_alone_until_it_has_healed() {
    test(async |cluster| is_left_alone(cluster, Fault::Status(503)).await);
}

#[test]
fn a_deployment_that_closes_connections_is_left_alone_until_it_has_healed() {
    test(async |cluster| is_left_alone(cluster, Fault::Close).await);
}

pub(crate) async fn is_left_alone(cluster: &Cluster, fault: Fault) {
    let provisioned = &cluster.azure.openai;
    provisioned.fault(fault);
    let before = provisioned.requests().len();
    let errors = || provisioned.requests().len() - before;
    let ejected = || {
        let hosts = cluster.pod.admin("/clusters");
        let mut hosts =
            hosts.lines().filter(|line| line.contains("openai.internal::10.78.0.2:443::"));
        hosts.any(|line| line.contains("failed_outlier_check"))
    };
    while errors() < ERRORS {
        assert!(!ejected(), "{} errors are too few", errors());
        assert_eq!(cluster.chat().await.status, 200, "the others serve");
    }
    cluster.until("it is ejected", async || ejected()).await;
    sleep(MERGED).await;
    let asked = errors();
    assert!(asked <= ERRORS + 1, "two tries a request, until there were five errors: {asked}");
    let served = standard(cluster);
    assert_eq!(cluster.chat().await.status, 200);
    assert_eq!(errors(), asked, "it is not asked");
    assert_eq!(standard(cluster), served + 1, "the other tier at the first try");
    let counted = cluster.pod.statistics("outlier_detection.ejections_active");
    assert!(counted.iter().any(|(_, ejected)| *ejected == 1), "a metric for alerts: {counted:?}");
    provisioned.heal();
    cluster
        .until("it is asked first again", async || {
            let before = provisioned.requests().len();
            cluster.chat().await.status == 200 && provisioned.requests().len() == before + 1
        })
        .await;
}

#[test]
fn the_tier_of_two_shares_what_it_gets_by_weight() {
    test(async |cluster| {
        cluster.azure.openai.fault(Fault::Status(503));
        let before = (cluster.sweden.requests().len(), cluster.france.requests().len());
        for _ in 0..60 {
            assert_eq!(cluster.chat().await.status, 200);
        }
        let sweden = cluster.sweden.requests().len() - before.0;
        let france = cluster.france.requests().len() - before.1;
        assert!(sweden > france && france > 0, "{sweden} and {france}");
    });
}

#[test]
fn a_backend_with_the_certificate_of_another_host_receives_nothing() {
    test(async |cluster| {
        cluster.fronts.provisioned.show_a_wrong_certificate();
        let before = cluster.azure.openai.requests().len();
        for _ in 0..10 {
            assert_eq!(cluster.chat().await.status, 200, "the others serve");
        }
        assert_eq!(cluster.azure.openai.requests().len(), before);
    });
}

/// Counts what the pay-as-you-go deployments have received.
fn standard(cluster: &Cluster) -> usize {
    cluster.sweden.requests().len() + cluster.france.requests().len()
}
