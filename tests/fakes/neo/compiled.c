/* A compiled model's own code. */
#include <stdint.h>

double mean(const uint8_t *values, int64_t count)
{
    double sum = 0;
    for (int64_t at = 0; at < count; at++)
        sum += values[at];
    return sum / (double)count;
}
