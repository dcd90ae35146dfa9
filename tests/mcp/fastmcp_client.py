"""Lists and calls the tools of an MCP server with the client of fastmcp and prints the results as one JSON object.

    fastmcp_client.py URL
    fastmcp_client.py COMMAND ARGUMENT...
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport


async def main(target):
    progress = []

    async def on_progress(done, total, message):
        progress.append([done, total, message])

    if target[0].startswith("http"):
        transport = target[0]
    else:
        transport = StdioTransport(command=target[0], args=target[1:])
    async with Client(transport, progress_handler=on_progress) as client:
        tools = [tool.name for tool in await client.list_tools()]
        text = await client.call_tool("test_simple_text", {})
        structured = await client.call_tool("test_structured_content", {})
        picture = await client.call_tool("test_image_content", {})
        await client.call_tool("test_tool_with_progress", {})
        fault = await client.call_tool("fault_memory", {}, raise_on_error=False)
    print(
        json.dumps(
            {
                "tools": tools,
                "text": text.content[0].text,
                "structured": structured.structured_content,
                "picture": picture.content[0].mimeType,
                "progress": progress,
                "fault": [fault.is_error, fault.content[0].text],
            }
        )
    )


asyncio.run(main(sys.argv[1:]))
