"""The fields of KubeRay's RayJob that the project uses, as a JSON schema written by hand.

Source: the reference of `ray.io/v1` of KubeRay 1.7.0, https://docs.ray.io/en/master/kuberay/references/api.html
(RayJobSpec, RayClusterSpec, AuthOptions, HeadGroupSpec, WorkerGroupSpec, SubmitterConfig), and for pods
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/. Fields that are not used are
left out, so that a misspelt one is refused.
"""


def fields(required=(), **properties):
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
SECONDS = {"type": "integer", "minimum": 1}
WORDS = {"type": "object", "additionalProperties": TEXT}  # Kubernetes refuses numbers in such maps
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}


def many(of):
    return {"type": "array", "items": of, "minItems": 1}


CONTAINER = fields(
    ("name", "image"),
    name=TEXT,
    image=TEXT,
    resources=fields(requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=many(fields(("name", "mountPath"), name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
VOLUME = fields(
    ("name",),
    name=TEXT,
    configMap=fields(("name",), name=TEXT),
    persistentVolumeClaim=fields(("claimName",), claimName=TEXT),
    emptyDir=fields(medium={"enum": ["", "Memory"]}, sizeLimit=QUANTITY),
)
POD = fields(
    ("spec",),
    spec=fields(
        ("containers",),
        restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
        containers=many(CONTAINER),
        volumes=many(VOLUME),
    ),
)
HEAD = fields(("template", "rayStartParams"), rayStartParams=WORDS, labels=WORDS, template=POD)
WORKERS = fields(
    ("groupName", "template", "rayStartParams"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=WORDS,
    labels=WORDS,
    template=POD,
)
CLUSTER = fields(
    ("headGroupSpec", "rayVersion"),
    rayVersion=TEXT,
    authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    headGroupSpec=HEAD,
    workerGroupSpecs=many(WORKERS),
)
RAY_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(("name",), name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,46}[a-z0-9])?$"}),
    spec=fields(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=COUNT,
        submitterConfig=fields(backoffLimit=COUNT),
        activeDeadlineSeconds=SECONDS,
        preRunningDeadlineSeconds=SECONDS,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)
