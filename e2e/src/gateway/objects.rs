//! What is in the clusters: the gateway and its route, what stands behind its Services, and the policy.

use super::backend::{LYON, PARIS, PICTURES, PORT, RESPONDER, RESPONDER_PORT};

/// How long clients are asked to wait.
pub(super) const RETRY: &str = "7";

/// What users who read French are told.
pub(super) const WORDS: &str = "La boutique est en lecture seule.";

/// Namespaces of both clusters.
pub(super) const NAMESPACES: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: bascule-system}
";

/// The application's route, as its people have written it: half of the requests for each site, until Bascule knows better;
/// and a rule that leads elsewhere.
pub(super) const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: public}]
  hostnames: [www.shop.example]
  rules:
    - name: pages
      backendRefs: [{name: web-paris, port: 80, weight: 50}, {name: web-lyon, port: 80, weight: 50}]
    - name: pictures
      matches: [{path: {value: /pictures}}]
      backendRefs: [{name: pictures, port: 80}]
";

/// The names of its rules.
pub(super) const RULES: [&str; 2] = ["pages", "pictures"];

/// How the rule is called by which Bascule has writes refused.
pub(super) const REFUSING: &str = "bascule-refuses-writes";

/// The gateway in lyon.
pub(super) const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: envoy}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec: {gatewayClassName: envoy, listeners: [{name: web, port: 80, protocol: HTTP}]}
";

/// The Services of lyon with what stands behind them, and the grant for the responder.
pub(super) fn services() -> String {
    let service = |namespace: &str, name: &str, address: std::net::Ipv4Addr, port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{ports: [{{port: 80, targetPort: {port}}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{port: {port}, name: \"\"}}]\n\
             endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]\n---\n"
        )
    };
    let mut all = service("shop", "web-paris", PARIS, PORT);
    all += &service("shop", "web-lyon", LYON, PORT);
    all += &service("shop", "pictures", PICTURES, PORT);
    all += &service("bascule-system", "responder", RESPONDER, RESPONDER_PORT);
    all += "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: responder, namespace: bascule-system}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: \"\", kind: Service, name: responder}]
";
    all
}

/// The policy, the same in both clusters.
pub(super) fn policy() -> String {
    format!(
        "\
apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata: {{name: shop, namespace: shop}}
spec:
  sites: [{{name: paris}}, {{name: lyon}}]
  initialSite: paris
  failover:
    serveReads: {{after: 10s, returnAfter: 5s}}
    promote: {{after: Never, maxDataLoss: {{bytes: 16Mi, time: 30s}}}}
  notifications:
    users: [{{language: fr, channels: [users-fr], subject: Boutique, readOnly: \"{WORDS}\"}}]
  traffic:
    - name: gateway
      httpRoute:
        name: web
        refuseWrites: {{retryAfter: {RETRY}s}}
        backends:
          - {{site: paris, service: web-paris, port: 80}}
          - {{site: lyon, service: web-lyon, port: 80}}
"
    )
}
