// What the comparison programs share: their command line, fvecs and ivecs files, recall, timing, and the JSON they print.
//
//   peer BASE.fvecs QUERY.fvecs TRUTH.ivecs METRIC THREADS SECONDS EF,EF,..     builds, searches, prints one JSON object
//
// Each EF is searched by one thread for at least SECONDS, all queries each time round; recall@10 counts ids of the exact ten.
#pragma once

#include <chrono>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace peer {

constexpr size_t K = 10;

template <typename T> struct Matrix {
    size_t rows = 0, cols = 0;
    std::vector<T> data;
    const T *row(size_t i) const { return data.data() + i * cols; }
};

[[noreturn]] inline void die(const std::string &what)
{
    fprintf(stderr, "%s\n", what.c_str());
    exit(1);
}

// The files are the benchmark's own export: rows of one length, checked here only against truncation.
template <typename T> Matrix<T> read_vecs(const char *path)
{
    static_assert(sizeof(T) == 4, "fvecs and ivecs hold four-byte components");
    FILE *file = fopen(path, "rb");
    Matrix<T> m;
    int32_t count;

    if (!file)
        die(std::string(path) + ": " + strerror(errno));
    while (fread(&count, 4, 1, file) == 1) {
        if (count < 1 || count > 65536 || (m.rows && size_t(count) != m.cols))
            die(std::string(path) + ": rows of unlike length");
        m.cols = size_t(count);
        m.data.resize((m.rows + 1) * m.cols);
        if (fread(m.data.data() + m.rows * m.cols, 4, m.cols, file) != m.cols)
            die(std::string(path) + ": truncated");
        m.rows++;
    }
    fclose(file);
    if (!m.rows)
        die(std::string(path) + ": no vectors");
    return m;
}

inline double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Resident bytes of this process.
inline size_t resident()
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total, pages = 0;

    if (file) {
        if (fscanf(file, "%lu %lu", &total, &pages) != 2)
            pages = 0;
        fclose(file);
    }
    return size_t(pages) * 4096;
}

struct Arguments {
    Matrix<float> base, query;
    Matrix<int32_t> truth;
    bool cosine, ip;
    int threads;
    double seconds;
    std::vector<int> ef;
};

inline void unit_length(Matrix<float> &m)
{
    for (size_t i = 0; i < m.rows; i++) {
        float *x = m.data.data() + i * m.cols;
        double sum = 0;

        for (size_t j = 0; j < m.cols; j++)
            sum += double(x[j]) * x[j];
        for (size_t j = 0; sum > 0 && j < m.cols; j++)
            x[j] = float(x[j] / std::sqrt(sum));
    }
}

inline Arguments read_arguments(int argc, char **argv)
{
    Arguments a;

    if (argc != 8)
        die("usage: " + std::string(argv[0]) + " BASE.fvecs QUERY.fvecs TRUTH.ivecs cosine|l2|ip THREADS SECONDS EF,EF,..");
    a.base = read_vecs<float>(argv[1]);
    a.query = read_vecs<float>(argv[2]);
    a.truth = read_vecs<int32_t>(argv[3]);
    a.cosine = !strcmp(argv[4], "cosine");
    a.ip = !strcmp(argv[4], "ip");
    a.threads = atoi(argv[5]);
    a.seconds = atof(argv[6]);
    for (char *at = argv[7]; *at;) {
        a.ef.push_back(int(strtol(at, &at, 10)));
        at += *at == ',';
    }
    if (a.query.cols != a.base.cols || a.truth.rows < a.query.rows || a.truth.cols < K || a.threads < 1)
        die("the files do not fit together");
    if (a.cosine) { // on vectors of unit length, L2 orders as the cosine does
        unit_length(a.base);
        unit_length(a.query);
    }
    return a;
}

// search(query row, ef, ids of K): the number found.
inline void sweep(const char *name, const Arguments &a, double build_seconds, size_t bytes,
                  const std::function<void(int)> &set_ef, const std::function<size_t(const float *, int64_t *)> &search)
{
    printf("{\"engine\":\"%s\",\"rows\":%zu,\"dim\":%zu,\"threads\":%d,\"build_seconds\":%.4f,\"build_rate\":%.1f,"
           "\"bytes_per_vector\":%.1f,\"searches\":[", name, a.base.rows, a.base.cols, a.threads, build_seconds,
           double(a.base.rows) / build_seconds, double(bytes) / double(a.base.rows));
    for (size_t e = 0; e < a.ef.size(); e++) {
        size_t hits = 0, searches = 0;
        double begin, elapsed;
        int64_t ids[K];

        set_ef(a.ef[e]);
        for (size_t q = 0; q < a.query.rows; q++) { // recall, and warm caches
            size_t n = search(a.query.row(q), ids);

            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < K; j++)
                    hits += a.truth.row(q)[j] == ids[i];
        }
        begin = now();
        do {
            for (size_t q = 0; q < a.query.rows; q++)
                search(a.query.row(q), ids);
            searches += a.query.rows;
            elapsed = now() - begin;
        } while (elapsed < a.seconds);
        printf("%s{\"ef\":%d,\"recall\":%.5f,\"qps\":%.1f}", e ? "," : "", a.ef[e], double(hits) / double(K * a.query.rows),
               double(searches) / elapsed);
    }
    printf("]}\n");
}

} // namespace peer
