"""`parp glue`: PARP on BERT, XLNet and their like, on the tasks of GLUE."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from parp_fairseq.cli.options import Force, listed
from parp_fairseq.cli.outermost import INTERRUPTED

if TYPE_CHECKING:
    from parp_fairseq.files import Kind
    from parp_fairseq.glue.outcome import Outcome
    from parp_fairseq.glue.runs import GlueRuns
    from parp_fairseq.glue.settings import Settings
    from parp_fairseq.glue.store import Store

_MOST_SEEDS = 1000

app = typer.Typer(
    no_args_is_help=True, help="Prune and fine-tune BERT, XLNet and their like on GLUE."
)

Model = Annotated[
    Optional[Path], typer.Option(help="A local folder of transformers: weights and tokenizer.")
]
Data = Annotated[
    Optional[Path], typer.Option(help="A GLUE folder: MRPC/train.tsv, CoLA/train.tsv and so on.")
]
Out = Annotated[Path, typer.Option(help="Folder for the runs of one model and one setting.")]
Seeds = Annotated[int, typer.Option(help="How many seeds, counted up from --seed.")]
Seed = Annotated[int, typer.Option(help="The first seed: of head, batches, dropout and masks.")]
Interval = Annotated[int, typer.Option(help="n of algorithm 1: prune again every n units.")]
IntervalUnit = Annotated[str, typer.Option(help="What --interval counts: epoch or update.")]
InitialSparsity = Annotated[
    Optional[float],
    typer.Option(help="parp_p, gmp: begin there (default: 0.1 below --sparsity; gmp: 0)."),
]
Rise = Annotated[float, typer.Option(help="parp_p, gmp: share of the updates that climb.")]
Granularity = Annotated[
    str, typer.Option(help="global: one threshold; tensor: one for each matrix.")
]
Include = Annotated[
    list[str],
    typer.Option(help="Pattern of prunable parameters, for a model no preset knows (several)."),
]
Exclude = Annotated[list[str], typer.Option(help="Pattern of parameters to leave out (several).")]
ImpOf = Annotated[
    str, typer.Option(help="imp: a round prunes 10% of the original or the remaining weights.")
]
LearningRate = Annotated[
    float, typer.Option(help="AdamW's; it falls linearly to 0 at the last update.")
]
Batch = Annotated[int, typer.Option(help="Examples in an update.")]
MaxLength = Annotated[int, typer.Option(help="Tokens, above which an example is cut.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training examples.")]
Warmup = Annotated[float, typer.Option(help="Share of the updates over which the rate climbs.")]
WeightDecay = Annotated[float, typer.Option(help="AdamW's.")]
LimitTrain = Annotated[
    Optional[int], typer.Option(help="Train on so many examples, the same ones for every seed.")
]
MicroBatch = Annotated[
    int, typer.Option(help="Examples in a forward pass (a GPU may want the whole batch).")
]
Precision = Annotated[
    str, typer.Option(help="fp32, or bf16: mixed, faster where the processor has bfloat16.")
]
AsJsonFile = Annotated[
    Optional[Path],
    typer.Option("--json", help="File to write the results into; - for standard output."),
]


@app.command("run")
def glue_run(
    task: Annotated[
        list[str],
        typer.Option(help="cola, mrpc, qnli, qqp, rte, sst-2, sts-b, wnli, mnli (several)."),
    ],
    model: Model = None,
    data: Data = None,
    method: Annotated[
        str, typer.Option(help="dense, rp, mpi, omp, imp, mask, gmp, parp or parp_p.")
    ] = "parp",
    sparsity: Annotated[float, typer.Option(help="Share of entries to prune, 0 to 1.")] = 0.7,
    mask: Annotated[
        Optional[Path],
        typer.Option(help="A mask file: held (method mask), or the first one (parp, parp_p, gmp)."),
    ] = None,
    initial: Annotated[
        Optional[str],
        typer.Option(help="rp, parp, parp_p, gmp: first mask: magnitude, random, random_init."),
    ] = None,
    out: Out = Path("runs/glue"),
    seeds: Seeds = 1,
    seed: Seed = 1,
    interval: Interval = 1,
    interval_unit: IntervalUnit = "epoch",
    initial_sparsity: InitialSparsity = None,
    rise: Rise = 0.5,
    granularity: Granularity = "global",
    include: Include = [],  # noqa: B006
    exclude: Exclude = [],  # noqa: B006
    imp_of: ImpOf = "original",
    learning_rate: LearningRate = 2e-5,
    batch: Batch = 32,
    max_length: MaxLength = 128,
    epochs: Epochs = 3,
    warmup: Warmup = 0.0,
    weight_decay: WeightDecay = 0.0,
    limit_train: LimitTrain = None,
    micro_batch: MicroBatch = 8,
    precision: Precision = "fp32",
    save_model: Annotated[
        bool, typer.Option(help="Keep the weights of each run made now, in its model/.")
    ] = True,
    as_json: AsJsonFile = None,
    force: Force = False,
) -> None:
    """Fine-tune and prune on tasks of GLUE, and score at the end (paper, section 4.5).

    The settings are BERT-Ticket's. Each run leaves OUT/TASK/METHOD/seedN with result.json,
    mask.safetensors and the model, m⊙θ. A stopped run goes on, a finished one is not made again
    (unless a mask is to be made of weights that it did not keep).

    Example: parp glue run --task mrpc --model bert-base-uncased --data glue_data --method parp
    --sparsity 0.7 --seeds 3
    """
    from parp_fairseq.glue.specs import PruningOptions, spec_of

    options = PruningOptions(
        interval,
        interval_unit,
        initial,
        initial_sparsity,
        rise,
        None,
        granularity,
        tuple(listed(include)),
        tuple(listed(exclude)),
    )
    settings = _settings(
        learning_rate,
        batch,
        max_length,
        epochs,
        warmup,
        weight_decay,
        limit_train,
        micro_batch,
        precision,
    )
    tasks = _tasks(task)
    _check_sparsity(sparsity)
    _check_mask(mask)
    chosen = _seeds(seed, seeds)
    specs = [spec_of(t, method, sparsity, s, mask, options) for t in tasks for s in chosen]
    from parp_fairseq.glue.store import RUNS_JSON, Store

    _check_json(as_json, RUNS_JSON, Store(out), [file for file in (mask,) if file], force)
    runs = _runs(model, data, out, settings, imp_of)

    from parp_fairseq.glue.tables import runs_table
    from parp_fairseq.jobs.progress import Clock, Progress

    runs.check(specs)
    results: list[dict[str, Any]] = []
    with Progress(Clock(len(specs), 0)) as progress:
        runs.progress = progress
        try:
            for spec in specs:
                results.append(runs.run(spec, keep_model=save_model))
                runs.done += 1
        except KeyboardInterrupt:
            _stopped(f"{len(results)} of {len(specs)} runs are done")
    _write_json(as_json, results)
    if as_json != Path("-"):
        tables = [[r for r in results if r["task"] == t.name] for t in tasks]
        print("\n\n".join(runs_table(table) for table in tables))


@app.command("transfer")
def glue_transfer(
    tasks: Annotated[
        list[str], typer.Option(help="Two tasks or more, with commas between: cola,mrpc,rte.")
    ],
    model: Model = None,
    data: Data = None,
    sparsity: Annotated[float, typer.Option(help="Of all masks.")] = 0.7,
    source: Annotated[
        str, typer.Option(help="How a task's mask is found: omp, or imp in rounds of 10%.")
    ] = "omp",
    alone: Annotated[
        list[str], typer.Option(help="Methods to run on each task too: parp,parp_p,mpi,rp.")
    ] = [],  # noqa: B006
    out: Out = Path("runs/glue"),
    seeds: Seeds = 1,
    seed: Seed = 1,
    interval: Interval = 1,
    interval_unit: IntervalUnit = "epoch",
    initial_sparsity: InitialSparsity = None,
    rise: Rise = 0.5,
    granularity: Granularity = "global",
    include: Include = [],  # noqa: B006
    exclude: Exclude = [],  # noqa: B006
    imp_of: ImpOf = "original",
    learning_rate: LearningRate = 2e-5,
    batch: Batch = 32,
    max_length: MaxLength = 128,
    epochs: Epochs = 3,
    warmup: Warmup = 0.0,
    weight_decay: WeightDecay = 0.0,
    limit_train: LimitTrain = None,
    micro_batch: MicroBatch = 8,
    precision: Precision = "fp32",
    report: Annotated[
        bool, typer.Option("--report", help="Only tell what the runs in --out found so far.")
    ] = False,
    as_json: AsJsonFile = None,
    markdown: Annotated[Optional[Path], typer.Option(help="File for the tables.")] = None,
    png: Annotated[Optional[Path], typer.Option(help="File for the heat maps.")] = None,
    force: Force = False,
) -> None:
    """The mask of every task, fine-tuned on every task: held, and with PARP (paper, table 4).

    Runs are those of parp glue run and share its folder; as there, a finished one is not made
    again. Dense fine-tunings and same-task masks come first, methods alone last.

    Example: parp glue transfer --tasks cola,mrpc,rte,sts-b --model bert-base-uncased
    --data glue_data --sparsity 0.7 --markdown table4.md --png table4.png
    """
    from parp_fairseq.glue.specs import PruningOptions

    options = PruningOptions(
        interval,
        interval_unit,
        None,
        initial_sparsity,
        rise,
        None,
        granularity,
        tuple(listed(include)),
        tuple(listed(exclude)),
    )
    settings = _settings(
        learning_rate,
        batch,
        max_length,
        epochs,
        warmup,
        weight_decay,
        limit_train,
        micro_batch,
        precision,
    )
    chosen = _tasks(tasks)
    _check_sparsity(sparsity)
    from parp_fairseq.glue.store import Store

    _check_outputs(Store(out), as_json, markdown, png, force)
    seed_list, methods = _seeds(seed, seeds), listed(alone)
    runs = None if report else _runs(model, data, out, settings, imp_of)
    if report:
        Store(out).settings()

    from parp_fairseq.glue.outcome import read_outcome
    from parp_fairseq.glue.transfer import plan_of, run_transfer
    from parp_fairseq.jobs.progress import Clock, Progress

    plan = plan_of(chosen, sparsity, source, seed_list, methods, options)
    if runs is not None:
        planned = sum(len(plan.specs(s)) for s in plan.seeds)
        with Progress(Clock(planned, 0)) as progress:
            runs.progress = progress
            try:
                run_transfer(plan, runs)
            except KeyboardInterrupt:
                _stopped("what was done is kept")
    _show(read_outcome(plan, Store(out)), as_json, markdown, png)


def _show(
    outcome: "Outcome", as_json: Optional[Path], markdown: Optional[Path], png: Optional[Path]
) -> None:
    from parp_fairseq.files import write_lines
    from parp_fairseq.glue.tables import as_markdown, as_text, transfer_tables

    tables = transfer_tables(outcome)
    if markdown is not None:
        write_lines(markdown, [as_markdown(tables).rstrip("\n")])
    if png is not None:
        from parp_fairseq.report.heat_maps import draw_transfer

        draw_transfer(outcome.to_json(), png)
    _write_json(as_json, outcome.to_json())
    if as_json != Path("-"):
        print(as_text(tables))
        done = f"\n{len(outcome.results)} of {outcome.planned} runs are done"
        print(f"{done}; they took {outcome.seconds / 3600:.1f} hours")


def _settings(*values: Any) -> "Settings":
    from parp_fairseq.glue.settings import Settings

    settings = Settings(*values)
    settings.check()
    return settings


def _tasks(names: list[str]) -> list[Any]:
    from parp_fairseq.errors import UserError
    from parp_fairseq.glue.tasks import task_named

    tasks = [task_named(name) for name in listed(names)]
    if not tasks:
        raise UserError("no task is named; give cola, mrpc, …")
    return list(dict.fromkeys(tasks))


def _seeds(first: int, count: int) -> list[int]:
    from parp_fairseq.errors import UserError

    if not 1 <= count <= _MOST_SEEDS:
        raise UserError(f"--seeds is {count}; give 1 to {_MOST_SEEDS}")
    if not 0 <= first < 2**31:
        raise UserError(f"--seed is {first}; give 0 to {2**31 - 1}")
    return list(range(first, first + count))


def _check_sparsity(sparsity: float) -> None:
    from parp_fairseq.errors import options_named
    from parp_fairseq.pruning.checks import check_sparsity

    with options_named("--"):
        check_sparsity(sparsity)


def _check_mask(mask: Optional[Path]) -> None:
    if mask is not None:
        from parp_fairseq.errors import UserError

        if not mask.is_file():
            raise UserError(f"--mask {mask}: no such file; give a mask file")


def _runs(
    model: Optional[Path], data: Optional[Path], out: Path, settings: "Settings", imp_of: str
) -> "GlueRuns":
    """Check model and data cheaply, then what transformers needs."""
    from parp_fairseq.errors import UserError
    from parp_fairseq.glue.folders import check_model_folder
    from parp_fairseq.jobs.imp_rounds import SHARES

    if model is None:
        raise UserError("--model is missing; give a local folder of transformers")
    if data is None:
        raise UserError("--data is missing; give the folder that holds MRPC/, CoLA/ …")
    check_model_folder(model)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give the folder that holds MRPC/, CoLA/ …")
    if imp_of not in SHARES:
        raise UserError(f"--imp-of is {imp_of!r}; use {' or '.join(SHARES)}")

    from parp_fairseq.hf.extra import needs_transformers

    with needs_transformers("parp glue"):
        import transformers  # noqa: F401

    from parp_fairseq.glue.runs import GlueRuns

    return GlueRuns(out, model, data, settings, imp_of=imp_of)


def _check_json(
    as_json: Optional[Path], kind: "Kind", store: "Store", inputs: list[Path], force: bool
) -> None:
    if as_json is not None and as_json != Path("-"):
        from parp_fairseq.files import check_output

        store.check_other(as_json, "--json")
        check_output(as_json, kind, inputs=inputs, force=force, option="--json")


def _check_outputs(
    store: "Store",
    as_json: Optional[Path],
    markdown: Optional[Path],
    png: Optional[Path],
    force: bool,
) -> None:
    from parp_fairseq.cli.options import check_picture
    from parp_fairseq.files import Kind, begins_with, check_output
    from parp_fairseq.glue.store import TRANSFER_JSON

    for option, file in (("--markdown", markdown), ("--png", png)):
        if file is not None:
            store.check_other(file, option)
    _check_json(as_json, TRANSFER_JSON, store, [], force)
    if markdown is not None:
        kind = Kind("a file of tables", begins_with(b"## Scores by target task"))
        check_output(markdown, kind, force=force, option="--markdown")
    check_picture(png, [], force)
    if png is not None:
        from parp_fairseq.report.drawing import check_drawing

        check_drawing()


def _write_json(as_json: Optional[Path], content: Any) -> None:
    if as_json == Path("-"):
        print(json.dumps(content, indent=1))
    elif as_json is not None:
        from parp_fairseq.files import write_json

        write_json(as_json, content)


def _stopped(done: str) -> None:
    print(f"parp: interrupted: {done}; the same command goes on", file=sys.stderr)
    raise typer.Exit(INTERRUPTED)
