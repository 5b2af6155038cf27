// Every overlay of deploy/kubernetes, rendered by a real kustomize, and as much of the shapes of
// their objects as the tests beside this read.
import { resolve } from "node:path";
import { parseAllDocuments } from "yaml";
import { findKustomize } from "../../../deploy/kubernetes/kustomize-binary.ts";

export const kubernetesDir = resolve(import.meta.dirname, "../../../deploy/kubernetes");

/** What is applied as one; each of the last four to a cluster of its own. */
export const overlays = [
  "one-cluster",
  "one-cluster-full",
  "cluster-per-region/central",
  "cluster-per-region/us",
  "cluster-per-region/eu",
  "cluster-per-region/ap",
] as const;

export interface Labels {
  readonly [key: string]: string;
}

export interface Selector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: "In" | "Exists";
    readonly values?: readonly string[];
  }[];
}

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
}

export interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly envFrom: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly resources: {
    readonly requests: Labels;
    readonly limits: Readonly<Record<string, unknown>>;
  };
  readonly lifecycle?: { readonly preStop: { readonly exec?: { readonly command: string[] } } };
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly securityContext: {
    readonly allowPrivilegeEscalation: boolean;
    readonly readOnlyRootFilesystem: boolean;
    readonly capabilities: { readonly drop: readonly string[] };
  };
}

export interface Volume {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly persistentVolumeClaim?: { readonly claimName: string };
}

export interface Workload {
  readonly metadata: Metadata;
  readonly spec: {
    readonly replicas?: number;
    readonly ordinals?: { readonly start: number };
    readonly serviceName: string;
    readonly selector: Selector;
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
    readonly template: {
      readonly metadata: { readonly labels: Labels; readonly annotations: Labels };
      readonly spec: {
        readonly serviceAccountName: string;
        readonly automountServiceAccountToken: boolean;
        readonly priorityClassName: string;
        readonly terminationGracePeriodSeconds: number;
        readonly securityContext: {
          readonly runAsNonRoot: boolean;
          readonly seccompProfile: { readonly type: string };
        };
        readonly topologySpreadConstraints?: readonly { readonly labelSelector: Selector }[];
        readonly containers: readonly [Container];
        readonly volumes: readonly Volume[];
      };
    };
  };
}

export interface ServiceObject {
  readonly metadata: Metadata;
  readonly spec: {
    readonly selector: Labels;
    readonly ports: readonly { readonly port: number; readonly targetPort: string }[];
  };
}

export interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string };
}

interface Rule {
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
  readonly ports: readonly { readonly port: number }[];
}

export interface Policy {
  readonly metadata: Metadata;
  readonly spec: {
    readonly podSelector: Selector;
    readonly ingress?: readonly Rule[];
    readonly egress?: readonly Rule[];
  };
}

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
  readonly data?: Labels;
  readonly spec?: object;
}

/** The objects of one overlay. */
export class Rendered {
  readonly name: string;
  readonly objects: readonly KubeObject[];

  constructor(name: string, objects: readonly KubeObject[]) {
    this.name = name;
    this.objects = objects;
  }

  workloads(): Workload[] {
    return this.ofKind("StatefulSet") as unknown as Workload[];
  }

  services(): ServiceObject[] {
    return this.ofKind("Service") as unknown as ServiceObject[];
  }

  policies(): Policy[] {
    return this.ofKind("NetworkPolicy") as unknown as Policy[];
  }

  ofKind(kind: string): KubeObject[] {
    return this.objects.filter((object) => object.kind === kind);
  }

  /** An object beside another one, in the same namespace. */
  beside(metadata: Metadata, kind: string, name: string): KubeObject | undefined {
    const { namespace } = metadata;
    return this.ofKind(kind).find(
      (object) => object.metadata.name === name && object.metadata.namespace === namespace,
    );
  }
}

export async function renderOverlays(): Promise<Rendered[]> {
  const kustomize = await findKustomize();
  const rendered: Rendered[] = [];
  for (const name of overlays) {
    const text = await kustomize(resolve(kubernetesDir, "overlays", name));
    rendered.push(new Rendered(name, parseObjects(text)));
  }
  return rendered;
}

export function parseObjects(text: string): KubeObject[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as KubeObject;
  });
}

export function matches(selector: Selector, labels: Labels): boolean {
  const { matchLabels = {}, matchExpressions = [] } = selector;
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      return value !== undefined && (operator === "Exists" || values.includes(value));
    })
  );
}
