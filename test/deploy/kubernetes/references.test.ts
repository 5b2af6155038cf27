// What schemas can't say: that the objects of an overlay fit together.
import test from "ava";
import {
  type Container,
  type Metadata,
  matches,
  type Peer,
  type Rendered,
  renderOverlays,
  type Selector,
  type Workload,
} from "./rendered-overlays.ts";

const rendered = await renderOverlays();
const all = rendered.flatMap((overlay) =>
  overlay.workloads().map((workload) => ({ overlay, workload })),
);
/** What Helm brings: the two servers of a site, by the labels that its values give them. */
const natsLabels = ["core", "jetstream"].map((kind) => ({ "isthmus.dev/nats": kind }));
/** The paths that `systemRoutes` serves for probes. */
const probePaths = new Set(["/healthz", "/readyz"]);

function container({ spec }: Workload): Container {
  return spec.template.spec.containers[0];
}

function podsIn(overlay: Rendered, namespace: string | undefined) {
  const own = overlay
    .workloads()
    .filter(({ metadata }) => metadata.namespace === namespace)
    .map(({ spec }) => spec.template.metadata.labels);
  return [...own, ...natsLabels];
}

test("every workload's selector selects its own pods, and no other workload's", (t) => {
  for (const { overlay, workload } of all) {
    const selected = overlay
      .workloads()
      .filter(({ metadata }) => metadata.namespace === workload.metadata.namespace)
      .filter(({ spec }) => matches(workload.spec.selector, spec.template.metadata.labels));
    t.deepEqual(
      selected.map(({ metadata }) => metadata.name),
      [workload.metadata.name],
    );
    for (const { labelSelector } of workload.spec.template.spec.topologySpreadConstraints ?? []) {
      t.true(matches(labelSelector, workload.spec.template.metadata.labels));
    }
  }
});

test("every service selects pods, and each of its ports is one of theirs", (t) => {
  for (const overlay of rendered) {
    for (const { metadata, spec } of overlay.services()) {
      const pods = podsIn(overlay, metadata.namespace).filter((labels) =>
        matches({ matchLabels: spec.selector }, labels),
      );
      t.not(pods.length, 0, metadata.name);
      if ("isthmus.dev/nats" in spec.selector) continue;
      const workloads = overlay
        .workloads()
        .filter(({ spec: { template } }) => pods.includes(template.metadata.labels));
      for (const { port, targetPort } of spec.ports) {
        for (const workload of workloads) {
          const { containerPort } =
            container(workload).ports.find(({ name }) => name === targetPort) ?? {};
          t.is(containerPort, port, `${metadata.name} → ${workload.metadata.name} ${targetPort}`);
        }
      }
    }
  }
});

test("every reference to another object resolves", (t) => {
  for (const { overlay, workload } of all) {
    const { metadata, spec } = workload;
    const { serviceAccountName, priorityClassName, volumes } = spec.template.spec;
    const there = (kind: string, name: string, from: Metadata = metadata) =>
      t.truthy(overlay.beside(from, kind, name), `${overlay.name}: ${kind} ${name}`);
    there("Service", spec.serviceName);
    there("ServiceAccount", serviceAccountName);
    there("PriorityClass", priorityClassName, { name: "" });
    if (metadata.namespace !== undefined) {
      there("Namespace", metadata.namespace, { name: "" });
    }
    for (const { configMapRef } of container(workload).envFrom)
      there("ConfigMap", configMapRef.name);
    for (const { configMap, persistentVolumeClaim } of volumes) {
      if (configMap) there("ConfigMap", configMap.name);
      if (persistentVolumeClaim) there("PersistentVolumeClaim", persistentVolumeClaim.claimName);
    }
    const claims = spec.volumeClaimTemplates?.map((claim) => claim.metadata.name) ?? [];
    const mountable = new Set([...claims, ...volumes.map(({ name }) => name)]);
    for (const { name } of container(workload).volumeMounts) t.true(mountable.has(name), name);
  }
  for (const overlay of rendered) {
    for (const { metadata, spec } of overlay.ofKind("ScaledObject")) {
      const { scaleTargetRef, triggers } = spec as {
        scaleTargetRef: { kind: string; name: string };
        triggers: { metadata: { url: string } }[];
      };
      t.truthy(overlay.beside(metadata, scaleTargetRef.kind, scaleTargetRef.name));
      for (const { metadata: trigger } of triggers) {
        const [service = "", namespace = ""] = new URL(trigger.url).hostname.split(".");
        t.truthy(overlay.beside({ name: "", namespace }, "Service", service), trigger.url);
      }
    }
  }
});

test("every budget and every policy selects pods, and so does each peer of a policy", (t) => {
  for (const overlay of rendered) {
    for (const { metadata, spec } of overlay.ofKind("PodDisruptionBudget")) {
      const { selector } = spec as { selector: Selector };
      t.true(podsIn(overlay, metadata.namespace).some((labels) => matches(selector, labels)));
    }
    for (const { metadata, spec } of overlay.policies()) {
      const pods = podsIn(overlay, metadata.namespace);
      t.true(
        pods.some((labels) => matches(spec.podSelector, labels)),
        `${overlay.name} ${metadata.name}`,
      );
      const rules = [...(spec.ingress ?? []), ...(spec.egress ?? [])];
      for (const peer of rules.flatMap(({ from = [], to = [] }) => [...from, ...to])) {
        t.true(reaches(overlay, metadata, peer), `${metadata.name}: ${JSON.stringify(peer)}`);
      }
    }
  }
});

/** Whether a peer is anybody: pods of the mesh, or what its README says to label. */
function reaches(overlay: Rendered, { namespace }: Metadata, peer: Peer): boolean {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  if (ipBlock !== undefined) return podSelector === undefined && namespaceSelector === undefined;
  if (namespaceSelector?.matchLabels?.["isthmus.dev/mesh"] === undefined) {
    if (namespaceSelector !== undefined) return true; // others' namespaces
    return podsIn(overlay, namespace).some((labels) => matches(podSelector ?? {}, labels));
  }
  // In a cluster for itself, a site's peers are behind the ipBlock of the wan component.
  if (overlay.name.startsWith("cluster-per-region")) return true;
  return overlay
    .ofKind("Namespace")
    .filter(({ metadata }) => matches(namespaceSelector, metadata.labels ?? {}))
    .flatMap(({ metadata }) => podsIn(overlay, metadata.name))
    .some((labels) => matches(podSelector ?? {}, labels));
}

test("nothing passes unless a policy names it, and an edge reaches its region alone", (t) => {
  for (const overlay of rendered) {
    const namespaces = new Set(overlay.workloads().map(({ metadata }) => metadata.namespace));
    for (const namespace of namespaces) {
      const policies = overlay
        .policies()
        .filter(({ metadata }) => metadata.namespace === namespace);
      const denies = policies.filter(
        ({ spec }) => Object.keys(spec.podSelector).length === 0 && spec.ingress === undefined,
      );
      t.true(denies.some(({ spec }) => spec.egress === undefined));
      for (const { metadata, spec } of overlay.workloads()) {
        const { labels } = spec.template.metadata;
        if (metadata.namespace !== namespace) continue;
        if (labels["app.kubernetes.io/component"] !== "edge") continue;
        const out = policies
          .filter((policy) => matches(policy.spec.podSelector, labels))
          .flatMap((policy) => policy.spec.egress ?? [])
          .flatMap(({ to = [{}], ports }) =>
            ports.flatMap(({ port }) => to.map((peer) => [port, peer])),
          );
        const beyond = out.filter(([port, peer]) => {
          const { namespaceSelector, ipBlock, podSelector } = peer as Peer;
          if (port === 53) return false; // names
          return namespaceSelector !== undefined || ipBlock !== undefined || !podSelector;
        });
        t.deepEqual(beyond, []);
        t.true(out.some(([port]) => port === 4222) && out.some(([port]) => port === 8080));
      }
    }
  }
});

test("every probe asks what the role serves at a port that the container has", (t) => {
  for (const { workload } of all) {
    const { ports, startupProbe, livenessProbe, readinessProbe } = container(workload);
    for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) {
      t.true(ports.some(({ name }) => name === httpGet.port));
      t.true(probePaths.has(httpGet.path), httpGet.path);
    }
    t.is(livenessProbe.httpGet.path, "/healthz");
  }
});

test("every image has a version, no pod has a right that it doesn't need", (t) => {
  for (const { workload } of all) {
    const { image, securityContext } = container(workload);
    t.regex(image, /^isthmus(-cuda)?:\d/);
    t.true(securityContext.readOnlyRootFilesystem);
    t.false(securityContext.allowPrivilegeEscalation);
    t.deepEqual(securityContext.capabilities.drop, ["ALL"]);
    const pod = workload.spec.template.spec;
    t.true(pod.securityContext.runAsNonRoot);
    t.is(pod.securityContext.seccompProfile.type, "RuntimeDefault");
    t.false(pod.automountServiceAccountToken);
    t.truthy(container(workload).resources.requests.memory);
    t.truthy(container(workload).resources.limits.memory);
  }
});

test("a pod that is told to go has the time that its drain takes", (t) => {
  const roleStopS = 5;
  let drains = 0;
  for (const { workload } of all) {
    const { env = [], lifecycle } = container(workload);
    if (lifecycle?.preStop.exec === undefined) continue;
    drains += 1;
    t.regex(lifecycle.preStop.exec.command.join(" "), /--grace-s "\$DRAIN_S"/);
    const drainS = Number(env.find(({ name }) => name === "DRAIN_S")?.value);
    const graceS = workload.spec.template.spec.terminationGracePeriodSeconds;
    t.true(drainS + roleStopS <= graceS, `${workload.metadata.name}: ${drainS} of ${graceS} s`);
  }
  t.not(drains, 0);
});
