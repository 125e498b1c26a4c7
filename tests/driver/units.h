/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the driver's pure functions are tried with, as a program of this machine.
 */
#ifndef UNITS_H
#define UNITS_H

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition)						\
	do {								\
		if (!(condition)) {					\
			fprintf(stderr, "%s:%d: %s: not so: %s\n",	\
				__FILE__, __LINE__, __func__, #condition); \
			exit(1);					\
		}							\
	} while (0)

void segments_units(void);
void clock_units(void);
void range_units(void);

#endif /* UNITS_H */
