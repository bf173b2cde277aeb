"""All routes of the API, in one table that the web process, the command line and the OpenAPI document share."""

from berth.android.updates import Update
from berth.engine.device import Device
from berth.service.operations import Operation
from berth.service.terminal import Terminal
from berth.web import apps, containers, demo, device, inside, models, reading, report, tokens
from berth.web.openapi import document
from berth.web.routes import Call, Route, Table
from berth.web.samples import HostSample, Sample

STREAMS = "/streams"  # answered by a stream of frames, not by a route


def _openapi(call: Call) -> bytes:
    return document(TABLE.routes)


def _about_containers() -> tuple[Route, ...]:
    one = "/containers/{name}"
    return (
        Route(
            method="GET",
            path="/containers",
            function=containers.list_all,
            gives=models.Summaries,
            summary="List all containers.",
        ),
        Route(
            method="POST",
            path="/containers",
            function=containers.create,
            takes=models.SpecRequest,
            gives=models.Container,
            status=201,
            summary="Save a new container.",
        ),
        Route(
            method="POST",
            path="/demo",
            function=demo.make,
            takes=demo.DemoRequest,
            gives=models.Container,
            status=201,
            apart=True,
            summary="Make and save the container that comes with Berth.",
        ),
        Route(
            method="GET", path=one, function=containers.show, gives=models.Container, summary="Tell of one container."
        ),
        Route(
            method="PUT",
            path=one,
            function=containers.change,
            takes=models.SpecRequest,
            gives=models.Container,
            summary="Change what holds from its next start on.",
        ),
        Route(
            method="DELETE",
            path=one,
            function=containers.remove,
            gives=models.Removed,
            summary="Forget a container; its root stays.",
        ),
        Route(
            method="POST",
            path=f"{one}/rename",
            function=containers.rename,
            takes=models.RenameRequest,
            gives=models.Container,
            summary="Give a container another name.",
        ),
        Route(
            method="POST",
            path=f"{one}/ports",
            function=containers.change_its_ports,
            takes=models.PortsRequest,
            gives=models.Container,
            apart=True,
            summary="Show and hide ports, at once and from its next start on.",
        ),
        Route(
            method="POST",
            path=f"{one}/start",
            function=containers.start,
            takes=models.StartRequest,
            gives=Operation,
            status=202,
            summary="Start a container.",
        ),
        Route(
            method="POST",
            path=f"{one}/stop",
            function=containers.stop,
            takes=models.StopRequest,
            gives=Operation,
            status=202,
            summary="Stop a container.",
        ),
        Route(
            method="POST",
            path=f"{one}/restart",
            function=containers.restart,
            takes=models.StopRequest,
            gives=Operation,
            status=202,
            summary="Stop a container and start it again.",
        ),
        Route(
            method="POST",
            path=f"{one}/plan",
            function=containers.plan,
            takes=models.StartRequest,
            gives=models.PlanAnswer,
            apart=True,
            summary="Tell what its start would do, and why.",
        ),
        Route(
            method="POST",
            path="/plan",
            function=containers.plan_unsaved,
            takes=models.PlanRequest,
            gives=models.PlanAnswer,
            apart=True,
            summary="Tell what the start of a container that is not saved would do.",
        ),
        Route(
            method="GET",
            path=f"{one}/log",
            function=containers.log,
            gives=models.Log,
            query={"lines": "[0-9]{1,6}"},
            summary="The end of what its console said.",
        ),
        Route(
            method="POST",
            path=f"{one}/console/input",
            function=containers.type_at_console,
            takes=models.ConsoleInput,
            status=204,
            summary="Type at its console.",
        ),
        Route(
            method="GET",
            path=f"{one}/processes",
            function=inside.processes,
            gives=models.Processes,
            summary="The processes in it.",
        ),
        Route(
            method="GET",
            path=f"{one}/statistics",
            function=inside.statistics,
            gives=Sample,
            summary="What it uses now.",
        ),
    )


def _about_files() -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path="/read/configuration",
            function=reading.configuration,
            takes=models.ConfigurationRequest,
            gives=models.ReadConfiguration,
            summary="Read a configuration of Berth or Droidspaces; nothing is saved.",
        ),
        Route(
            method="POST",
            path="/read/variables",
            function=reading.variables,
            takes=models.FileRequest,
            gives=models.ReadVariables,
            summary="Read a file of variables.",
        ),
    )


def _about_history() -> tuple[Route, ...]:
    hours = {"hours": "[0-9]{1,4}"}
    return (
        Route(
            method="GET",
            path="/containers/{name}/history",
            function=inside.container_history,
            gives=models.HistoryAnswer,
            query=hours,
            summary="What it has used, where a history is kept.",
        ),
        Route(
            method="GET",
            path="/host/history",
            function=inside.host_history,
            gives=models.HistoryAnswer,
            query=hours,
            summary="What the device has used, where a history is kept.",
        ),
    )


def _about_terminals() -> tuple[Route, ...]:
    one = "/terminals/{id}"
    return (
        Route(
            method="GET",
            path="/terminals",
            function=inside.terminals,
            gives=models.Terminals,
            summary="List the terminals.",
        ),
        Route(
            method="POST",
            path="/terminals",
            function=inside.open_one,
            takes=models.TerminalRequest,
            gives=Terminal,
            status=201,
            apart=True,
            summary="Run a program in a terminal of its own.",
        ),
        Route(
            method="POST",
            path=f"{one}/input",
            function=inside.type_in,
            takes=models.InputRequest,
            gives=models.Taken,
            summary="Type in a terminal.",
        ),
        Route(
            method="POST",
            path=f"{one}/size",
            function=inside.resize,
            takes=models.SizeRequest,
            status=204,
            summary="Tell a terminal its size.",
        ),
        Route(method="DELETE", path=one, function=inside.close, status=204, summary="Close a terminal."),
        Route(
            method="POST",
            path=f"{STREAMS}/{{id}}/subscriptions",
            function=inside.change,
            takes=models.StreamChange,
            status=204,
            summary="Change what a stream tells of.",
        ),
    )


def _about_the_device() -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/service",
            function=device.service,
            gives=models.Service,
            summary="The service, and where it listens.",
        ),
        Route(method="GET", path="/host", function=device.host, gives=Device, summary="The device."),
        Route(
            method="GET",
            path="/host/statistics",
            function=inside.host_statistics,
            gives=HostSample,
            summary="What the device uses now.",
        ),
        Route(
            method="GET",
            path="/check",
            function=device.check,
            gives=models.Check,
            apart=True,
            summary="What the device has and lacks of what containers need.",
        ),
        Route(
            method="GET",
            path="/report",
            function=report.report,
            gives=models.Report,
            apart=True,
            summary="A report of a bug, without names, addresses and secrets.",
        ),
        Route(
            method="GET",
            path="/updates",
            function=device.updates,
            gives=Update,
            summary="The latest version, as it was when somebody last looked.",
        ),
        Route(
            method="POST",
            path="/updates",
            function=device.look_for_updates,
            takes=models.Nothing,
            gives=Operation,
            status=202,
            summary="Look for a newer version, where the module says; never done by itself.",
        ),
        Route(
            method="GET",
            path="/operations",
            function=device.operations,
            gives=models.OperationList,
            summary="What is under way, and what ended lately.",
        ),
        Route(
            method="GET",
            path="/operations/{id}",
            function=device.operation,
            gives=Operation,
            summary="One operation with its log.",
        ),
        Route(
            method="POST",
            path="/operations/{id}/cancel",
            function=device.cancel,
            takes=models.Nothing,
            gives=Operation,
            status=202,
            summary="End an operation and take back what it has done.",
        ),
        Route(
            method="GET",
            path="/settings",
            function=device.settings,
            gives=models.Settings,
            summary="What holds for all containers.",
        ),
        Route(
            method="PUT",
            path="/settings",
            function=device.change_settings,
            takes=models.SettingsRequest,
            gives=models.Settings,
            summary="Change what holds for all containers.",
        ),
    )


def _about_access() -> tuple[Route, ...]:
    return (
        Route(method="GET", path="/tokens", function=tokens.tokens, gives=models.Tokens, summary="List the tokens."),
        Route(
            method="POST",
            path="/tokens",
            function=tokens.create,
            takes=models.TokenRequest,
            gives=models.NewToken,
            status=201,
            summary="Make a token.",
        ),
        Route(
            method="DELETE",
            path="/tokens/{id}",
            function=tokens.revoke,
            status=204,
            summary="Make a token worthless.",
        ),
        Route(
            method="GET",
            path="/apps",
            function=apps.apps,
            gives=models.Apps,
            apart=True,
            summary="List the apps that are paired.",
        ),
        Route(
            method="DELETE",
            path="/apps/{uid}",
            function=apps.unpair,
            status=204,
            summary="Make all tokens of an app worthless.",
        ),
        Route(
            method="POST",
            path="/pair",
            function=tokens.pair,
            takes=models.PairRequest,
            gives=models.NewToken,
            status=201,
            tokenless=True,
            summary="Give a token for a ticket.",
        ),
        Route(
            method="POST",
            path="/proof",
            function=tokens.prove,
            takes=models.ProofRequest,
            gives=models.Proof,
            tokenless=True,
            summary="Prove to a page that this is the service which gave it its token.",
        ),
        Route(method="GET", path="/audit", function=tokens.audit, gives=models.Audit, summary="What was done lately."),
        Route(method="GET", path="/openapi.json", function=_openapi, summary="This document."),
    )


TABLE = Table(
    (
        *_about_containers(),
        *_about_files(),
        *_about_history(),
        *_about_terminals(),
        *_about_the_device(),
        *_about_access(),
    )
)
