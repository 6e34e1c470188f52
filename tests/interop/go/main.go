// Runs an OAuth 2.0 server made of Ory's Fosite with new keys, as its order says, and prints how to get a token from it. It ends
// when nobody holds its standard input any more.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
	"golang.org/x/crypto/bcrypt"
)

type order struct {
	Algorithms []string
	Audience   string
	Client     struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	Port   int
	Scopes string
}

type server struct {
	order    order
	issuer   string
	keys     map[string]*jose.JSONWebKey
	provider fosite.OAuth2Provider
}

// In a request's context: the algorithm that it asks for with the parameter `alg`.
type algorithm struct{}

func main() {
	var told order
	must(json.Unmarshal([]byte(os.Args[1]), &told))
	listener := must1(net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", told.Port)))
	served := start(told, "http://"+listener.Addr().String())
	go func() { must(http.Serve(listener, served.routes())) }()

	orders := map[string]any{}
	for _, algorithm := range told.Algorithms {
		orders[algorithm] = map[string]string{"alg": algorithm, "audience": told.Audience}
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"door": served.issuer, "orders": orders}))
	must1(io.Copy(io.Discard, os.Stdin))
}

func start(told order, issuer string) *server {
	served := &server{order: told, issuer: issuer, keys: map[string]*jose.JSONWebKey{}}
	for _, algorithm := range told.Algorithms {
		served.keys[algorithm] = newKey(algorithm)
	}
	config := &fosite.Config{
		AccessTokenLifespan:      time.Hour,
		GlobalSecret:             []byte("of thirty-two bytes or of longer"),
		JWTScopeClaimKey:         jwt.JWTScopeFieldString,
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.ExactAudienceMatchingStrategy,
	}
	strategy := compose.NewOAuth2JWTStrategy(served.key, compose.NewOAuth2HMACStrategy(config), config)
	served.provider = compose.Compose(config, served.clients(), strategy, compose.OAuth2ClientCredentialsGrantFactory)
	return served
}

func newKey(algorithm string) *jose.JSONWebKey {
	var private crypto.Signer
	switch algorithm {
	case "ES256":
		private = must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	case "ES384":
		private = must1(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	default:
		private = must1(rsa.GenerateKey(rand.Reader, 2048))
	}
	return &jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: algorithm, Use: "sig"}
}

func (s *server) clients() *storage.MemoryStore {
	store := storage.NewMemoryStore()
	store.Clients[s.order.Client.ID] = &fosite.DefaultClient{
		ID:         s.order.Client.ID,
		Secret:     must1(bcrypt.GenerateFromPassword([]byte(s.order.Client.Secret), bcrypt.MinCost)),
		GrantTypes: []string{"client_credentials"},
		Scopes:     strings.Fields(s.order.Scopes),
		Audience:   []string{s.order.Audience},
	}
	return store
}

func (s *server) key(ctx context.Context) (any, error) {
	asked, _ := ctx.Value(algorithm{}).(string)
	if key, ok := s.keys[asked]; ok {
		return key, nil
	}
	return nil, fmt.Errorf("no key for %q", asked)
}

func (s *server) routes() *http.ServeMux {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]string{"issuer": s.issuer, "jwks_uri": s.issuer + "/keys", "token_endpoint": s.issuer + "/token"})
	})
	routes.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		var set jose.JSONWebKeySet
		for _, key := range s.keys {
			set.Keys = append(set.Keys, key.Public())
		}
		reply(w, set)
	})
	routes.HandleFunc("POST /token", s.token)
	return routes
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	asked := r.PostFormValue("alg")
	ctx := context.WithValue(r.Context(), algorithm{}, asked)
	session := &oauth2.JWTSession{
		JWTClaims: &jwt.JWTClaims{Issuer: s.issuer, Subject: s.order.Client.ID},
		JWTHeader: &jwt.Headers{},
	}
	request, err := s.provider.NewAccessRequest(ctx, r, session)
	if err != nil {
		s.provider.WriteAccessError(ctx, w, request, err)
		return
	}
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	for _, audience := range request.GetRequestedAudience() {
		request.GrantAudience(audience)
	}
	answer, err := s.provider.NewAccessResponse(ctx, request)
	if err != nil {
		s.provider.WriteAccessError(ctx, w, request, err)
		return
	}
	s.provider.WriteAccessResponse(ctx, w, request, answer)
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("content-type", "application/json")
	must(json.NewEncoder(w).Encode(value))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must1[T any](value T, err error) T {
	must(err)
	return value
}
