package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages load. Its address changes with what is in it, so
// that a browser may keep it for ever.
type asset struct {
	media, version string
	body           []byte
}

func readAssets() (map[string]asset, error) {
	out := map[string]asset{}
	for name, media := range map[string]string{
		"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		body, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			return nil, fmt.Errorf("read asset: %w", err)
		}
		sum := sha256.Sum256(body)
		out[name] = asset{media: media, version: hex.EncodeToString(sum[:6]), body: body}
	}
	return out, nil
}

func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[chi.URLParam(r, "name")]
	if !ok {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.media)
	if r.URL.Query().Get("v") == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.body) // an error means that the browser has gone
}
