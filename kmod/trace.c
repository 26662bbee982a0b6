// SPDX-License-Identifier: GPL-2.0-only
/* trace.c - the code of the trace events, which trace.h generates where this is defined. */
#define CREATE_TRACE_POINTS
#include "trace.h"
