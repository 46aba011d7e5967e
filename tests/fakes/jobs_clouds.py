"""Two job services behind one interface: mosquitto with our responder, and the local AWS."""

import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import boto3
from botocore.exceptions import ClientError

from cloud_tools.local import LocalCloud
from edge_agent.config import Mqtt
from tests.fakes.certificates import Authority
from tests.fakes.jobs_responder import JobsResponder
from tests.fakes.mosquitto import Mosquitto

TIMEOUT_S = 60.0


class Standing(NamedTuple):
    """How an execution stands in the cloud."""

    status: str
    details: dict[str, str]
    version: int


class JobsCloud(Protocol):
    """A job service as its operator and the test see it."""

    def new_device(self) -> tuple[str, Mqtt]:
        """Return a new thing and how it connects."""

    def create_job(self, thing: str, job_id: str, document: dict[str, Any]) -> None:
        """Queue a job for a thing."""

    def cancel_job(self, job_id: str, *, force: bool = False) -> None:
        """Cancel a job."""

    def delete_job(self, job_id: str) -> None:
        """Delete a job, running or not."""

    def standing(self, thing: str, job_id: str) -> Standing | None:
        """Return how the thing's execution stands; None when there is none."""

    def shadow(self, thing: str) -> dict[str, Any]:
        """Return what the thing's device shadow reports."""

    def restart(self) -> None:
        """Stop it and start it again on the same address, jobs kept, connections not."""

    def stop(self) -> None:
        """End it."""


class MosquittoCloud:
    """Our responder behind a real broker."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.broker = Mosquitto(directory, self.authority)
        self.broker.start()
        # A stall must not cut the service off: what it says then is lost, and a device would never hear of its job.
        self.responder = JobsResponder(self._settings("service").model_copy(update={"keep_alive_s": 300}))
        self.responder.start()
        assert self.responder.ready.wait(TIMEOUT_S)

    def new_device(self) -> tuple[str, Mqtt]:
        thing = f"press-{secrets.token_hex(4)}"
        return thing, self._settings(thing)

    def create_job(self, thing: str, job_id: str, document: dict[str, Any]) -> None:
        self.responder.operate(lambda service: service.create_job(job_id, document, thing))

    def cancel_job(self, job_id: str, *, force: bool = False) -> None:
        self.responder.operate(lambda service: service.cancel_job(job_id, force=force))

    def delete_job(self, job_id: str) -> None:
        self.responder.operate(lambda service: service.delete_job(job_id))

    def standing(self, thing: str, job_id: str) -> Standing | None:
        execution = self.responder.service.executions.get((thing, job_id))
        return Standing(execution.status, execution.details or {}, execution.version) if execution else None

    def shadow(self, thing: str) -> dict[str, Any]:
        return self.responder.shadows.get(thing, {})

    def restart(self) -> None:
        self.broker.kill()
        self.broker.start()

    def stop(self) -> None:
        self.responder.stop()
        self.broker.stop()

    def _settings(self, name: str) -> Mqtt:
        pair = self.authority.issue(name)
        return _settings(self.broker.port, pair.certificate, pair.private_key, self.authority.ca)


class EmulatedCloud:
    """The local AWS, operated through boto3."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cloud = LocalCloud(directory / "cloud")
        self.endpoints = self.cloud.start()
        self.iot, self.data = self._client("iot"), self._client("iot-data")

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoints.gateway_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def new_device(self) -> tuple[str, Mqtt]:
        thing = f"press-{secrets.token_hex(4)}"
        self.iot.create_thing(thingName=thing)
        keys = self.iot.create_keys_and_certificate(setAsActive=True)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
        self.iot.create_policy(policyName=thing, policyDocument=json.dumps(policy))
        self.iot.attach_policy(policyName=thing, target=keys["certificateArn"])
        self.iot.attach_thing_principal(thingName=thing, principal=keys["certificateArn"])
        certificate, private_key = self.directory / f"{thing}.pem", self.directory / f"{thing}.key"
        certificate.write_text(keys["certificatePem"])
        private_key.write_text(keys["keyPair"]["PrivateKey"])
        return thing, _settings(self.endpoints.mqtt_port, certificate, private_key, self.endpoints.ca_pem)

    def create_job(self, thing: str, job_id: str, document: dict[str, Any]) -> None:
        arn = self.iot.describe_thing(thingName=thing)["thingArn"]
        self.iot.create_job(jobId=job_id, targets=[arn], document=json.dumps(document))

    def cancel_job(self, job_id: str, *, force: bool = False) -> None:
        self.iot.cancel_job(jobId=job_id, force=force)

    def delete_job(self, job_id: str) -> None:
        self.iot.delete_job(jobId=job_id, force=True)

    def standing(self, thing: str, job_id: str) -> Standing | None:
        try:
            execution = self.iot.describe_job_execution(jobId=job_id, thingName=thing)["execution"]
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise
        details = execution.get("statusDetails", {}).get("detailsMap", {})
        return Standing(execution["status"], details, execution["versionNumber"])

    def shadow(self, thing: str) -> dict[str, Any]:
        try:
            answer = self.data.get_thing_shadow(thingName=thing)
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "ResourceNotFoundException":
                return {}
            raise
        reported: dict[str, Any] = json.loads(answer["payload"].read())["state"].get("reported", {})
        return reported

    def restart(self) -> None:
        assert self.cloud.stop()
        assert not self.cloud.start().fresh

    def stop(self) -> None:
        self.iot.close()
        self.data.close()
        self.cloud.stop()


def _settings(port: int, certificate: Path, private_key: Path, authority: Path) -> Mqtt:
    return Mqtt(
        endpoint="127.0.0.1",
        port=port,
        certificate=certificate,
        private_key=private_key,
        ca=authority,
        keep_alive_s=5,
        reconnect_max_s=1,
    )


CLOUDS = {"mosquitto": MosquittoCloud, "local aws": EmulatedCloud}
