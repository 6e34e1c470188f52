//! The kinds of warnings: a stable code for each, why it matters, and what to write instead.

macro_rules! kinds {
    ($($name:ident = $code:literal, $why:literal, $instead:literal;)*) => {
        /// Says what a warning is about.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Kind {
            $($name,)*
        }

        impl Kind {
            /// All kinds, in the order of their codes.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code, which never changes.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Says why it matters.
            pub(crate) fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }

            /// Says what to write instead.
            pub(crate) fn instead(self) -> &'static str {
                match self { $(Self::$name => $instead,)* }
            }
        }
    };
}

kinds! {
    AudienceOfOneVersion = "audience_of_one_version",
        "Entra's tokens of version 2 have the application's id as `aud`, those of version 1 its `api://` URI; tokens of the other version are refused",
        "list both: `\"audiences\": [\"api://…\", \"00000000-0000-0000-0000-000000000000\"]`, or keep one if you have seen the tokens";
    AudienceWildcard = "audience_wildcard",
        "audiences are compared exactly, so no token matches",
        "the `aud` of the tokens that you expect";
    AuthnPhase = "authn_phase",
        "a RequestAuthentication of the same gateway comes after AUTHN, and refuses the gateway's own token with 401 for everybody",
        "`phase: AUTHZ`";
    CloudMismatch = "cloud_mismatch",
        "each Azure cloud has its own Entra and its own resources; the token endpoint of one refuses those of another",
        "the resource of the same cloud, such as `https://cognitiveservices.azure.us` or `https://cognitiveservices.azure.cn`";
    ClusterLooksForwarded = "cluster_looks_forwarded",
        "Envoy adds `x-forwarded-for` to calls of dynamic modules, and Azure's metadata service and App Service answer no request that has it",
        "`http_filters` in the cluster's HttpProtocolOptions: a header_mutation that removes `x-forwarded-for`, and upstream_codec";
    ClusterNameForeign = "cluster_name_foreign",
        "Istio names clusters `outbound|PORT|SUBSET|HOST`; a fetch through another name fails",
        "`outbound|443||HOST`, with a ServiceEntry or Service for that host";
    ClusterNotForGrpc = "cluster_not_for_grpc",
        "gRPC needs HTTP/2; without it every settlement fails, and each proxy counts for itself",
        "`explicit_http_config: { http2_protocol_options: {} }` in the cluster's HttpProtocolOptions";
    ClusterTrustsAnyCertificate = "cluster_trusts_any_certificate",
        "Envoy accepts any certificate without a trusted CA: whoever is between can give out keys, or take the gateway's token",
        "`validation_context: { trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt } }`, or `system_root_certs: {}`";
    ClusterVerifiesNoName = "cluster_verifies_no_name",
        "Envoy accepts the certificate of any host that the CA has signed: its owner can give out keys, or take the gateway's token",
        "`match_typed_subject_alt_names` with the host's name, or `auto_sni_san_validation: true` beside an automatic SNI";
    ClusterWithoutTls = "cluster_without_tls",
        "keys and tokens go over the network in the clear: whoever is between can change or take them",
        "`transport_socket` with an UpstreamTlsContext that names the CA and the host";
    EnvironmentVariableMissing = "environment_variable_missing",
        "Envoy passes only the environment variables to the module that `vm_config` names; without it no token can be fetched",
        "`environment_variables: { host_env_keys: [NAME] }` in `vm_config`";
    FailOpen = "fail_open",
        "every request is admitted while the module has failed, without a token",
        "`failure_policy: FAIL_RELOAD`, in Istio `failStrategy: FAIL_RELOAD`";
    FailurePolicyMissing = "failure_policy_missing",
        "without it a worker whose module has failed denies all requests until the proxy restarts",
        "`failure_policy: FAIL_RELOAD`, in Istio `failStrategy: FAIL_RELOAD`";
    FileExposed = "file_exposed",
        "whoever gets the projected token or the secret can get tokens of the gateway",
        "a cluster that no route names, nor any list of clusters, nor a header";
    FileListenerOpen = "file_listener_open",
        "others than keyless can reach the listener and read the file",
        "`internal_listener: {}`, and a cluster with an `envoy_internal_address`";
    FileTooSmall = "file_too_small",
        "Envoy goes on with the old file if a new one is larger than its limit",
        "`max_direct_response_body_size_bytes: 16384`";
    FileUnwatched = "file_unwatched",
        "Envoy reads the file once, when it starts, and never sees the next token",
        "`watched_directory: { path: DIRECTORY }` beside `filename`";
    ForwardClaimsInverted = "forward_claims_inverted",
        "the key is the header and the value the claim; so the header is set to nothing",
        "`\"forward_claims\": { \"HEADER\": \"CLAIM\" }`";
    GrantWithoutCondition = "grant_without_condition",
        "it allows every valid token of any issuer",
        "a scope, a role, a client or a claim; or say on purpose which issuer";
    GuardBefore = "guard_before",
        "the RBAC filter stands before keyless and refuses every request, since there is no verdict yet",
        "the RBAC filter after keyless and before the router";
    GuardMissing = "guard_missing",
        "where a worker cannot start the module Envoy skips the filter, under every failure policy; without a guard such requests pass unchecked",
        "the RBAC filter of envoy.yaml after keyless: it allows only filter state `wasm.keyless.verdict` equal to `admitted`";
    GuardWrong = "guard_wrong",
        "the RBAC filter after keyless does not deny what keyless has not admitted",
        "action ALLOW, one policy, whose only principal is filter state `wasm.keyless.verdict` equal to `admitted`";
    IdentityUnused = "identity_unused",
        "no route names it",
        "`identity` in a route, or leave it out";
    InternalRedirect = "internal_redirect",
        "Envoy follows the backend's redirect itself and takes the gateway's token along, also to another host",
        "no `internal_redirect_policy` on routes of keyless";
    JwksUriIsDiscovery = "jwks_uri_is_discovery",
        "a discovery document holds no keys",
        "`\"discovery\": true` in place of `uri`, or the document's `jwks_uri`";
    LimitBySubjectOfAnyIssuer = "limit_by_subject_of_any_issuer",
        "two issuers may use one subject for two callers, who then share a counter",
        "`issuer` in `per`, too";
    LimitByUnnamedDeployment = "limit_by_unnamed_deployment",
        "requests on such a route do not name a deployment, so all of them count together",
        "`\"deployment\": \"body.model\"` in the route, or other routes in `when`";
    LimitCountsNothing = "limit_counts_nothing",
        "no request can ever reach the limit",
        "`usage` in the routes that it is for, and `prices` for a limit of cost";
    LimitWithoutPrice = "limit_without_price",
        "what a deployment without a price costs does not count",
        "the deployment in `prices`";
    MatchModeServer = "match_mode_server",
        "a gateway is the client of its workloads, so a module for SERVER runs on none of its requests",
        "no `mode`, or `CLIENT`";
    PatternLiteral = "pattern_literal",
        "the pattern means these characters as they stand, so hardly a request matches",
        "`{name}` for one segment, `{*rest}` for all that follow, and no query: it is not part of the path";
    RequestMirror = "request_mirror",
        "the mirror gets each request with the gateway's token",
        "no `request_mirror_policies` on routes of keyless";
    ResourceIsEndpoint = "resource_is_endpoint",
        "IMDS gives tokens for a resource, not for the endpoint of one deployment",
        "`https://cognitiveservices.azure.com`";
    ResourceIsScope = "resource_is_scope",
        "`/.default` makes a scope of a resource; IMDS refuses it, and `client_credentials` adds it itself",
        "the resource without `/.default`";
    RouteUnreachable = "route_unreachable",
        "the first route that matches decides",
        "the narrower route first, or leave it out";
    RouteWithoutIdentity = "route_without_identity",
        "the backend gets no credential there, although other routes have one: Azure answers 401",
        "`\"identity\": \"NAME\"`; if the backend wants none, this is right as it is";
    SecretInConfiguration = "secret_in_configuration",
        "its value stands in the configuration of Envoy, and so in `/config_dump`",
        "`host_env_keys`, in Istio `valueFrom: HOST` with the value from a Secret of the gateway";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_words_and_each_is_used_once() {
        let codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert!(codes.is_sorted_by(|one, other| one < other), "{codes:?}");
        let is_word =
            |code: &&str| code.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        assert!(codes.iter().all(is_word), "{codes:?}");
    }
}
