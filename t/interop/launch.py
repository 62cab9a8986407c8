"""A part of llama_deploy as a process: launch.py WHAT OPTIONS

WHAT is "control_plane" or "services", OPTIONS is JSON.  It runs until it is
killed; a control plane that gets SIGUSR1 writes what it knows to options.store,
from where the next one takes it, and ends.
"""

import asyncio
import json
import os
import signal
import sys

from llama_deploy import ControlPlaneServer, WorkflowServiceConfig, deploy_workflow
from llama_deploy.control_plane import ControlPlaneConfig
from llama_deploy.message_queues.redis import (
    RedisMessageQueue,
    RedisMessageQueueConfig,
)
from llama_index.core.storage.kvstore import SimpleKVStore

import python_workflows


async def control_plane(options):
    store = SimpleKVStore()
    if os.path.exists(options["store"]):
        store = SimpleKVStore.from_persist_path(options["store"])
        for name in store.get_all(collection="services"):
            store.delete(name, collection="services")  # they are to come back

    server = ControlPlaneServer(
        RedisMessageQueue(RedisMessageQueueConfig(url=options["redis"])),
        state_store=store,
        config=ControlPlaneConfig(
            host="127.0.0.1",
            port=options["port"],
            topic_namespace=options["namespace"],
        ),
    )

    def leave():
        store.persist(options["store"])
        os._exit(0)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave)

    consume = await server.register_to_message_queue()

    async def consume_for_ever():
        # It returns, silently, at the first message that is refused.
        while True:
            await consume()
            print("the control plane's consumer had ended", flush=True)
            await asyncio.sleep(0.01)

    # Who is answered by it may rely on its consumer.
    consumer = asyncio.create_task(consume_for_ever())
    await server.launch_server()
    consumer.cancel()


async def services(options):
    await asyncio.gather(
        *(
            deploy_workflow(
                python_workflows.CLASSES[service["workflow"]](
                    timeout=service["timeout"]
                ),
                WorkflowServiceConfig(
                    host="127.0.0.1",
                    port=service["port"],
                    service_name=service["name"],
                ),
                ControlPlaneConfig(port=options["control_plane"]),
            )
            for service in options["services"]
        )
    )


asyncio.run(globals()[sys.argv[1]](json.loads(sys.argv[2])))
