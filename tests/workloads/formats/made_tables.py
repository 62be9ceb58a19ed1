"""One small, sound file of every format but SWF, by hand; each with how many jobs it holds."""

from __future__ import annotations

import io
import json

ALEA = (
    "0 1356996147 0 50 4 1 1024 4 80 8192 1 62 1 1 -1 1 1 1 {7,7,9,9} q_1d 1:ppn=4#excl\n"
    "1 1356996160 7 20 2 1 1024 2 90 -1 1 63 1 1 -1 1 1 1 {3,3} q_2w 1:ppn=2 and more\n"
)
MACHINES = "0\tzewura\t2\t80\t1.0\t529426432\n1\tzegox\t3\t12\t1.0\t94035968\n"
OPENB = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
    "pod-0,12000,16384,1,1000,,LS,Running,0,500,2\n"
    "pod-1,6500,12288,1,460,V100M16|V100M32,BE,Succeeded,5,50,10\n"
    "pod-2,8000,0,0,0,,LS,Pending,7,7,\n"
)
OPENB_FEWER = "name,cpu_milli,num_gpu,gpu_milli,creation_time\npod-0,12000,1,1000,0\npod-1,6500,2,1000,4\n"
NODES = "sn,cpu_milli,memory_mib,gpu,model\nnode-0,32000,262144,0,\nnode-1,96500,786432,8,V100M32\n"
DLRM = (
    "instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,memory_request,memory_limit,"
    "max_instance_per_node,creation_time,scheduled_time,deletion_time\n"
    "i_0,HN,app_0,12,12,1,1,120.0,120.0,8,,,\n"
    "i_1,CN,app_1,64,64,0,0,320.5,320.5,-1,100,130,430\n"
    "i_2,CN,app_1,64,64,0,0,320.5,320.5,-1,90,95,\n"
)
PHILLY = (
    "timestamp,duration,num_gpus,gpu_time,cluster\n"
    "2017-11-05 12:00:00,66.0,1,66.0,11cb48\n"
    "2017-11-04 12:00:00,2951.5,2,5903.0,6214e9\n"
    "2017-11-05 01:30:00,10.0,8,80.0,11cb48\n\n"
)
_DETAIL = [{"ip": "m1", "gpus": ["gpu0", "gpu1"]}, {"ip": "m2", "gpus": ["gpu0"]}]
PHILLY_JSON = json.dumps(
    [
        {
            "status": "Pass",
            "vc": "ee9e8c",
            "jobid": "application_1",
            "user": "ce2f4c",
            "submitted_time": "2017-10-07 01:11:39",
            "attempts": [
                {"start_time": "2017-10-07 01:12:09", "end_time": "2017-10-07 01:13:23", "detail": _DETAIL[:1]},
                {"start_time": "2017-10-07 01:13:30", "end_time": "2017-10-07 01:13:40", "detail": _DETAIL},
            ],
        },
        {
            "status": "Killed",
            "vc": "ee9e8c",
            "jobid": "application_2",
            "user": None,
            "submitted_time": "2017-10-07 01:00:00",
            "attempts": [{"start_time": "2017-10-07 02:00:00", "end_time": None, "detail": _DETAIL[:1]}],
        },
        {
            "status": "Failed",
            "vc": "0e4a51",
            "jobid": "application_3",
            "user": "ce2f4c",
            "submitted_time": "2017-10-07 03:00:00 PDT",
            "attempts": [],
        },
    ],
    indent=1,
)
POLLUX = "workload,name,time,application,num_replicas,batch_size\n1,ncf-0,29,ncf,1,32768\n2,bert-1,7,bert,6,2048\n"
TIRESIAS = (
    "job_id,num_gpu,submit_time,iterations,model_name,duration,interval\n"
    "0,1,0,606,vgg19,164,30\n1,8,30,133,vgg11,147,23\n"
)
CHRONUS = (
    "duration,user,num_gpu,job_id,best_effort,submit_time,expect_time_list,job_type\n"
    "3600,u7,4,11,0,60,10-20-30,strict\n90,u8,1,12,1,75,5-6,best\n"
)
GAVEL = (
    'Transformer (batch size 128)\tcd %s && python3 a "b.py -x\t-step\t1\t15486530\t0.000000\t1\n'
    "ResNet-18 (batch size 32)\tcd %s && python3 main.py \t--num_steps\t1\t52322471\t476285.000000\t8\n"
)
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951691,396,109\n"
)
_WAVES = {"2": [50, 60], "5": [70]}
TPCH = "".join(
    json.dumps(
        {
            "size_gb": size,
            "query": 3,
            "num_stages": 2,
            "edges": [[0, 1]],
            "stages": [
                {"num_tasks": 2, "fresh_durations": {"2": [60]}, "first_wave": _WAVES, "rest_wave": {}},
                {"num_tasks": 1, "fresh_durations": {}, "first_wave": {"2": [5]}, "rest_wave": {"2": [4]}},
            ],
        }
    )
    + "\n"
    for size in (2, 100)
)


def parquet_bytes(columns: dict) -> bytes:
    """A Parquet file in memory; the test that asks for it has checked that pyarrow is there."""
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


OPENDC = {
    "id": [5, 4],
    "submission_time": [1664575201500, 1664575200000],
    "duration": [1194000, 500],
    "cpu_count": [16, 1],
    "cpu_capacity": [33600.0, 2100.0],
    "mem_capacity": [100000, 5],
    "deferrable": [True, False],
    "deadline": [1664661600000, -1],
}
GWF = (
    "WorkflowID, JobID     , SubmitTime, RunTime   , NProcs    , ReqNProcs , Dependencies\n"
    "0         , 1         , 16        , 11        , 1         , 2         ,           \n"
    "0         , 2         , 40        , 12        , 3         , -1        , 1         \n"
    "1         , 7         , 8         , 13        , 1         , 1         , 1 2       \n"
)
SLURM = (
    "JobID|User|Account|Partition|Submit|Start|End|Elapsed|Timelimit|ReqCPUS|AllocCPUS|State|JobName\n"
    "17|ann|lab|long|2023-03-20T08:01:50|2023-03-20T08:02:20|2023-03-21T10:02:50|1-02:00:30|2-00:00:00|4|8|COMPLETED|a\n"
    "17.batch||lab||2023-03-20T08:02:20|2023-03-20T08:02:20|2023-03-21T10:02:50|1-02:00:30||4|8|COMPLETED|batch\n"
    "18|bob|lab|long|2023-03-20T08:00:00|2023-03-20T08:00:05|2023-03-20T08:01:05|00:01:00|UNLIMITED|1|1|"
    'CANCELLED by 7|say "b\n'
    "19|bob|lab|long|2023-03-20T09:00:00|Unknown|Unknown|00:00:00|01:00:00|2|0|PENDING|c\n"
)
WTA = {
    "id": [1, 0, 2],
    "ts_submit": [6000, 0, 0],
    "runtime": [7184, 9171, -1],
    "workflow_id": [0, 0, 1],
    "resource_amount_requested": [1.0, 2.5, 1.0],
    "parents": [[0.0], [], []],
    "children": [[], [1.0], []],
    "user_id": [-1, 3, -1],
    "wait_time": [-1, 5, -1],
    "type": ["composite", "composite", "single"],
}

TEXTS = {
    "alea": (ALEA, 2),
    "openb": (OPENB, 3),
    "dlrm": (DLRM, 3),
    "philly": (PHILLY, 3),
    "philly_json": (PHILLY_JSON, 3),
    "pollux": (POLLUX, 2),
    "tiresias": (TIRESIAS, 2),
    "gavel": (GAVEL, 2),
    "gwf": (GWF, 3),
    "slurm": (SLURM, 3),
    "azure_llm": (AZURE, 2),
    "tpch": (TPCH, 2),
}
"""Text of each format, with its rows."""
