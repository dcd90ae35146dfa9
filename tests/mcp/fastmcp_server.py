"""A typical fastmcp server: over standard input and output, or over HTTP with `fastmcp_server.py PORT`."""
import asyncio
import sys

from fastmcp import Context, FastMCP

server = FastMCP("fast")


@server.tool(annotations={"readOnlyHint": True})
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
async def steps(ctx: Context) -> str:
    """Take three steps."""
    for step in range(1, 4):
        await ctx.report_progress(step, 3)
        await asyncio.sleep(0.1)
    return "done"


@server.tool
def fail() -> str:
    """Never work."""
    raise ValueError("no luck today")


if len(sys.argv) > 1:
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
else:
    server.run(show_banner=False)
