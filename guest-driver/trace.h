/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: the life of a buffer, from the pin to the unpin.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pinhole

#if !defined(PINHOLE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PINHOLE_TRACE_H

#include <linux/tracepoint.h>

/* A user pointer was pinned, or failed to be: ret is 0 or a negative errno. */
TRACE_EVENT(pinhole_pin,
	TP_PROTO(unsigned long start, unsigned long length, unsigned int pages,
		 unsigned int segments, int ret),
	TP_ARGS(start, length, pages, segments, ret),
	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned long, length)
		__field(unsigned int, pages)
		__field(unsigned int, segments)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->start = start;
		__entry->length = length;
		__entry->pages = pages;
		__entry->segments = segments;
		__entry->ret = ret;
	),
	TP_printk("start=0x%lx length=%lu pages=%u segments=%u ret=%d",
		  __entry->start, __entry->length, __entry->pages,
		  __entry->segments, __entry->ret)
);

/* A buffer was handed to the device. */
TRACE_EVENT(pinhole_queue,
	TP_PROTO(unsigned int index, unsigned int segments, unsigned long bytes),
	TP_ARGS(index, segments, bytes),
	TP_STRUCT__entry(
		__field(unsigned int, index)
		__field(unsigned int, segments)
		__field(unsigned long, bytes)
	),
	TP_fast_assign(
		__entry->index = index;
		__entry->segments = segments;
		__entry->bytes = bytes;
	),
	TP_printk("index=%u segments=%u bytes=%lu",
		  __entry->index, __entry->segments, __entry->bytes)
);

/* A buffer was given back to videobuf2; state is an enum vb2_buffer_state. */
TRACE_EVENT(pinhole_done,
	TP_PROTO(unsigned int index, unsigned int sequence,
		 unsigned long bytesused, int state),
	TP_ARGS(index, sequence, bytesused, state),
	TP_STRUCT__entry(
		__field(unsigned int, index)
		__field(unsigned int, sequence)
		__field(unsigned long, bytesused)
		__field(int, state)
	),
	TP_fast_assign(
		__entry->index = index;
		__entry->sequence = sequence;
		__entry->bytesused = bytesused;
		__entry->state = state;
	),
	TP_printk("index=%u sequence=%u bytesused=%lu state=%d",
		  __entry->index, __entry->sequence, __entry->bytesused,
		  __entry->state)
);

/* A user pointer is about to be unpinned; dirtied counts pages marked dirty. */
TRACE_EVENT(pinhole_unpin,
	TP_PROTO(unsigned long start, unsigned int pages, unsigned int dirtied),
	TP_ARGS(start, pages, dirtied),
	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned int, pages)
		__field(unsigned int, dirtied)
	),
	TP_fast_assign(
		__entry->start = start;
		__entry->pages = pages;
		__entry->dirtied = dirtied;
	),
	TP_printk("start=0x%lx pages=%u dirtied=%u",
		  __entry->start, __entry->pages, __entry->dirtied)
);

/* An event of the device was ignored: event is VIRTIO_MEDIA_EVT_*, or -1 if it
 * has no header.
 */
TRACE_EVENT(pinhole_ignored,
	TP_PROTO(u32 event, u32 session_id, u32 used),
	TP_ARGS(event, session_id, used),
	TP_STRUCT__entry(
		__field(u32, event)
		__field(u32, session_id)
		__field(u32, used)
	),
	TP_fast_assign(
		__entry->event = event;
		__entry->session_id = session_id;
		__entry->used = used;
	),
	TP_printk("event=%d session=%u used=%u", (int)__entry->event,
		  __entry->session_id, __entry->used)
);

#endif /* PINHOLE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
