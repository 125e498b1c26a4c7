#pragma once
#define BIT_ULL(n) (1ULL << (n))
